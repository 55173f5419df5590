"""Registered models and the names that find them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = ignore_mlflow_warnings

SMALL = ("hidden=8", "max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip
# The messages of a registration.
REGISTERED = re.compile(
    r"^registered: char-rnn version (\d+), alias champion, run (\w+)\n"
    r"serve it with: MLFLOW_TRACKING_URI=(\S+) mlflow models serve -m models:/char-rnn@champion "
    r"--env-manager local$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("register")


@pytest.fixture(scope="module")
def path_overrides(root: Path) -> list[str]:
    return [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]


@pytest.fixture(scope="module")
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'outputs' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def single(path_overrides: list[str], command: RunCli) -> Any:
    return command("src.train", "register=true", *SMALL, *path_overrides)


@pytest.fixture(scope="module")
def sweep(single: Any, path_overrides: list[str], command: RunCli) -> Any:
    """A sweep after the single run in the same store; its first job fails."""
    overrides = ["--multirun", "hidden=0,8,16", "seed=2", "register=true", *SMALL[1:], *path_overrides]
    return command("src.train", *overrides)


def champion(uri: str) -> Any:
    return connect(uri).get_model_version_by_alias("char-rnn", "champion")


@pytest.mark.slow
def test_single_run_is_registered(single: Any, root: Path, uri: str) -> None:
    assert single.rc == 0, single.err
    run_id = single.out.splitlines()[-1].rpartition("run=")[2]
    (match,) = REGISTERED.findall(single.err)
    assert match == ("1", run_id, uri)
    assert "mlflow." not in single.err.lower().replace("mlflow.db", "")
    assert "INFO" not in single.err
    assert single.err.endswith("--env-manager local\n")


@pytest.mark.slow
def test_best_job_of_sweep_is_registered(sweep: Any, uri: str) -> None:
    assert sweep.rc == 1  # a job failed
    assert "Traceback" not in sweep.err
    (best,) = re.findall(r"^best: .* run=(\w+)$", sweep.out, re.MULTILINE)
    (match,) = REGISTERED.findall(sweep.err)
    assert match == ("2", best, uri)
    version = champion(uri)
    assert (int(version.version), version.run_id) == (2, best)
    from mlflow.tracking import MlflowClient

    first = MlflowClient(uri).get_model_version("char-rnn", "1")
    assert first.aliases == []


@pytest.mark.slow
def test_registered_model_equals_run(sweep: Any, uri: str, run_cli: RunCli, path_overrides: Any) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/char-rnn@champion")
    text = model.predict({"prompt": ["when "]}, params={"temperature": 0.7, "length": 30, "seed": 1})[0]
    run_id = champion(uri).run_id
    for name in ("champion", "models:/char-rnn@champion", "models:/char-rnn/2", run_id):
        result = run_cli("sample", f"run={name}", "prompt=when ", "length=30", *path_overrides)
        assert (result.rc, result.out) == (0, f"when {text}\n")
        overrides = f"run {run_id}" if name == run_id else f"run={name}: {run_id}"
        assert re.fullmatch(rf"{overrides}, hidden=\d+( seed=2)?, val/loss \d\.\d{{4}}\n", result.err), (
            result.err
        )


@pytest.mark.slow
def test_custom_alias_is_found(sweep: Any, uri: str, run_cli: RunCli, path_overrides: Any) -> None:
    connect(uri).set_registered_model_alias("char-rnn", "before", "1")
    result = run_cli("evaluate", "run=before", *path_overrides)
    assert result.rc == 0
    assert result.err.startswith(f"run=before: {connect(uri).get_model_version('char-rnn', '1').run_id}, ")
    assert "network, stateful" in result.out


@pytest.mark.slow
def test_registering_again_moves_alias(sweep: Any, uri: str) -> None:
    from src.tracking.mlflow_client import connect, set_champion

    client = connect(uri)
    first, second = (client.get_model_version("char-rnn", version).run_id for version in ("1", "2"))
    assert set_champion(uri, first) == 1
    assert champion(uri).run_id == first
    assert set_champion(uri, second) == 2
    assert champion(uri).run_id == second
    assert len(client.search_model_versions("name = 'char-rnn'")) == 2


@pytest.mark.slow
def test_reused_job_can_be_registered(
    sweep: Any, uri: str, path_overrides: list[str], command: RunCli
) -> None:
    """`register` does not change the job."""
    overrides = ["--multirun", "hidden=8,16", "seed=2", "skip_finished=true", *SMALL[1:], *path_overrides]
    plain = command("src.train", *overrides)
    assert plain.err.count("reused run") == 2
    assert "registered" not in plain.err
    again = command("src.train", *overrides, "register=true")
    assert again.err.count("reused run") == 2
    assert REGISTERED.findall(again.err) == [("2", champion(uri).run_id, uri)]


@pytest.mark.slow
def test_failed_sweep_is_not_registered(single: Any, path_overrides: Any, command: RunCli, uri: str) -> None:
    before = champion(uri).version
    result = command("src.train", "--multirun", "hidden=0,-1", "register=true", *SMALL[1:], *path_overrides)
    assert result.rc == 1
    assert "not registered: no job has a val/loss" in result.err
    assert champion(uri).version == before


@pytest.mark.parametrize("multirun", [(), ("--multirun", "hidden=8,16")])
def test_register_requires_tracking(multirun: tuple[str, ...], command: RunCli, tmp_path: Path) -> None:
    result = command(
        "src.train", *multirun, "register=true", "tracking=none", *SMALL[1:], f"output_dir={tmp_path / 'o'}"
    )
    assert (result.rc, result.out) == (2, "")
    assert result.error_line == (
        "train: register: expected false with tracking=none (there is no registry), got true"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_run_without_sync_is_not_registered(command: RunCli, path_overrides: Any, tmp_path: Path) -> None:
    unreachable = ["tracking.uri=http://127.0.0.1:9", f"output_dir={tmp_path}", path_overrides[1]]
    result = command("src.train", "register=true", *SMALL, *unreachable)
    assert result.rc == 2
    assert "val/loss=" in result.out  # the result is printed
    assert result.err.splitlines()[-1].startswith("train: register: expected an uploaded run, got ")


@pytest.mark.slow
def test_interrupted_sweep_is_not_registered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.common.job_result import JobResult
    from src.config.schema import PathsConfig
    from src.sweeps.summary import register_best
    from src.tracking import mlflow_client

    monkeypatch.setattr(mlflow_client, "register", lambda *_: pytest.fail("registered"))
    best = JobResult("hidden=8", 0, {"hidden": "8"}, "id", "FINISHED", metrics={"val/loss": 1.0})
    register_best(best, PathsConfig("o", "d"), "KILLED")
    assert capsys.readouterr().err == "not registered: the sweep did not finish (KILLED)\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """URI of a store, and the ids of its runs by name."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    client = connect(uri)
    experiment = client.create_experiment("some")
    run_ids = {}
    for name, stage, start, end, loss, status in (
        ("long", "train", 1000, 9000, 2.0, "FINISHED"),  # started first, ended last
        ("short", "train", 2000, 3000, 1.5, "FINISHED"),
        ("equal", "train", 2500, 3500, 1.5, "FINISHED"),
        ("without", "train", 2600, 3600, None, "FINISHED"),
        ("failed", "train", 4000, 9500, 0.1, "FAILED"),
        ("parent", "sweep", 500, 9900, 0.1, "FINISHED"),
    ):
        run_id = client.create_run(experiment, start, {"stage": stage}, name).info.run_id
        if loss is not None:
            client.log_metric(run_id, "val/loss", loss)
        client.set_terminated(run_id, status, end)
        run_ids[name] = run_id
    return uri, run_ids


@pytest.mark.slow
def test_latest_and_best_by_end_time_and_loss(store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    from src.tracking.mlflow_store import MlflowStore

    uri, run_ids = store
    runs = MlflowStore(uri, "some", tmp_path)
    assert runs.find("latest").run_id == run_ids["long"]
    assert runs.find("best").run_id == run_ids["short"]  # ties: the first
    assert runs.find(run_ids["failed"]).name == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["champion", "models:/char-rnn@champion", "models:/char-rnn/1", "models:/a/b/c", "f" * 32]
)
def test_unknown_name_is_rejected(name: str, store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    from src.tracking.mlflow_store import MlflowStore

    with pytest.raises(UserError, match=f"^run: expected latest, best, an alias .* got {re.escape(name)}$"):
        MlflowStore(store[0], "some", tmp_path).find(name)


@pytest.mark.slow
def test_run_without_model_is_not_registered(store: tuple[str, dict[str, str]]) -> None:
    from src.tracking.mlflow_client import connect, set_champion

    uri, run_ids = store
    with pytest.raises(UserError, match="register: expected a run with a logged model"):
        set_champion(uri, run_ids["short"])
    assert connect(uri).search_registered_models() == []


@pytest.mark.parametrize("operation", ["find", "register"])
def test_unreachable_store_is_reported(
    operation: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src.tracking.mlflow_client import set_champion
    from src.tracking.mlflow_store import MlflowStore

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    operations: dict[str, Callable[[], Any]] = {
        "find": lambda: MlflowStore("http://127.0.0.1:9", "some", tmp_path).find("champion"),
        "register": lambda: set_champion("http://127.0.0.1:9", "0" * 32),
    }
    with pytest.raises(UserError, match=r"tracking\.uri: expected a store that answers at http://127"):
        operations[operation]()
