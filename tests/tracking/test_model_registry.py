"""From the best run to a registered model, and the names by which a run is found again."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies

SMALL = ("hidden=8", "max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip
# What a person sees of registering, and nothing of MLflow's beside it.
SAID = re.compile(
    r"^registered: char-rnn version (\d+), alias champion, run (\w+)\n"
    r"serve it with: MLFLOW_TRACKING_URI=(\S+) mlflow models serve -m models:/char-rnn@champion "
    r"--env-manager local$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("register")


@pytest.fixture(scope="module")
def places(root: Path) -> list[str]:
    return [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]


@pytest.fixture(scope="module")
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'outputs' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def single(places: list[str], command: Any) -> Any:
    return command("src.train", "register=true", *SMALL, *places)


@pytest.fixture(scope="module")
def sweep(single: Any, places: list[str], command: Any) -> Any:
    """Behind the single run, in the same store; its first job fails."""
    asked = ["--multirun", "hidden=0,8,16", "seed=2", "register=true", *SMALL[1:], *places]
    return command("src.train", *asked)


def champion(uri: str) -> Any:
    from src.tracking.mlflow_client import connect

    return connect(uri).get_model_version_by_alias("char-rnn", "champion")


@pytest.mark.slow
def test_a_single_run_is_registered_and_told(single: Any, root: Path, uri: str) -> None:
    assert single.rc == 0, single.err
    run_id = single.out.splitlines()[-1].rpartition("run=")[2]
    (told,) = SAID.findall(single.err)
    assert told == ("1", run_id, uri)
    assert "mlflow." not in single.err.lower().replace("mlflow.db", "")
    assert "INFO" not in single.err
    assert single.err.endswith("--env-manager local\n")


@pytest.mark.slow
def test_of_a_sweep_the_best_job_is_registered(sweep: Any, uri: str) -> None:
    assert sweep.rc == 1  # a job failed
    assert "Traceback" not in sweep.err
    (best,) = re.findall(r"^best: .* run=(\w+)$", sweep.out, re.MULTILINE)
    (told,) = SAID.findall(sweep.err)
    assert told == ("2", best, uri)
    version = champion(uri)
    assert (int(version.version), version.run_id) == (2, best)
    from mlflow.tracking import MlflowClient

    first = MlflowClient(uri).get_model_version("char-rnn", "1")
    assert first.aliases == []


@pytest.mark.slow
def test_the_registered_model_writes_what_its_run_writes(
    sweep: Any, uri: str, typed: Any, places: Any
) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/char-rnn@champion")
    text = model.predict({"prompt": ["when "]}, params={"temperature": 0.7, "length": 30, "seed": 1})[0]
    run_id = champion(uri).run_id
    for name in ("champion", "models:/char-rnn@champion", "models:/char-rnn/2", run_id):
        ended = typed("sample", f"run={name}", "prompt=when ", "length=30", *places)
        assert (ended.rc, ended.out) == (0, f"when {text}\n")
        asked = f"run {run_id}" if name == run_id else f"run={name}: {run_id}"
        assert re.fullmatch(rf"{asked}, hidden=\d+( seed=2)?, val/loss \d\.\d{{4}}\n", ended.err), ended.err


@pytest.mark.slow
def test_another_alias_is_found_too(sweep: Any, uri: str, typed: Any, places: Any) -> None:
    from src.tracking.mlflow_client import connect

    connect(uri).set_registered_model_alias("char-rnn", "before", "1")
    ended = typed("evaluate", "run=before", *places)
    assert ended.rc == 0
    assert ended.err.startswith(f"run=before: {connect(uri).get_model_version('char-rnn', '1').run_id}, ")
    assert "network, stateful" in ended.out


@pytest.mark.slow
def test_best_and_latest_are_those_of_the_table(sweep: Any, uri: str, typed: Any, places: Any) -> None:
    from src.tracking.mlflow_client import connect

    client = connect(uri)
    runs = client.search_runs(
        [client.get_experiment_by_name("char-rnn").experiment_id],
        "attributes.status = 'FINISHED' AND tags.stage = 'train'",
    )
    assert len(runs) == 3
    best = min(runs, key=lambda run: run.data.metrics["val/loss"])
    latest = max(runs, key=lambda run: run.info.end_time)
    for name, run in (("best", best), ("latest", latest)):
        ended = typed("sample", f"run={name}", "length=5", *places)
        assert ended.err.startswith(f"run={name}: {run.info.run_id}, {run.info.run_name}, ")
        assert f"{run.data.metrics['val/loss']:.4f}" in ended.err


@pytest.mark.slow
def test_registering_again_moves_the_alias_and_makes_no_second_version(sweep: Any, uri: str) -> None:
    from src.tracking.mlflow_client import connect, set_champion

    client = connect(uri)
    first, second = (client.get_model_version("char-rnn", version).run_id for version in ("1", "2"))
    assert set_champion(uri, first) == 1
    assert champion(uri).run_id == first
    assert set_champion(uri, second) == 2
    assert champion(uri).run_id == second
    assert len(client.search_model_versions("name = 'char-rnn'")) == 2


@pytest.mark.slow
def test_a_reused_job_may_be_the_champion(sweep: Any, uri: str, places: list[str], command: Any) -> None:
    """register says nothing of what is trained: with it the same job is still the same."""
    asked = ["--multirun", "hidden=8,16", "seed=2", "skip_finished=true", *SMALL[1:], *places]
    plain = command("src.train", *asked)
    assert plain.err.count("reused run") == 2
    assert "registered" not in plain.err
    again = command("src.train", *asked, "register=true")
    assert again.err.count("reused run") == 2
    assert SAID.findall(again.err) == [("2", champion(uri).run_id, uri)]


@pytest.mark.slow
def test_without_a_finished_job_nothing_is_registered(
    single: Any, places: Any, command: Any, uri: str
) -> None:
    before = champion(uri).version
    ended = command("src.train", "--multirun", "hidden=0,-1", "register=true", *SMALL[1:], *places)
    assert ended.rc == 1
    assert "not registered: no job has a val/loss" in ended.err
    assert champion(uri).version == before


@pytest.mark.parametrize("how", [(), ("--multirun", "hidden=8,16")])
def test_without_a_tracker_there_is_no_registry(how: tuple[str, ...], command: Any, tmp_path: Path) -> None:
    ended = command(
        "src.train", *how, "register=true", "tracking=none", *SMALL[1:], f"output_dir={tmp_path / 'o'}"
    )
    assert (ended.rc, ended.out) == (2, "")
    assert ended.complaint == (
        "train: register: expected false with tracking=none (there is no registry), got true"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_run_that_the_tracker_has_not_seen_is_not_registered(
    command: Any, places: Any, tmp_path: Path
) -> None:
    away = ["tracking.uri=http://127.0.0.1:9", f"output_dir={tmp_path}", places[1]]
    ended = command("src.train", "register=true", *SMALL, *away)
    assert ended.rc == 2
    assert "val/loss=" in ended.out  # what was trained is told all the same
    assert ended.err.splitlines()[-1].startswith("train: register: expected an uploaded run, got ")


@pytest.mark.slow
def test_a_cut_short_sweep_leaves_the_champion(
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


# --- runs made by hand, without training ---


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The address of a store, and the ids of its runs by name."""
    from src.tracking.mlflow_client import connect

    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    client = connect(uri)
    experiment = client.create_experiment("some")
    made = {}
    for name, stage, start, end, loss, status in (
        ("long", "train", 1000, 9000, 2.0, "FINISHED"),  # began first, ended last
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
        made[name] = run_id
    return uri, made


@pytest.mark.slow
def test_latest_ended_last_and_best_has_the_lowest_loss(
    store: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    from src.tracking.mlflow_store import MlflowStore

    uri, made = store
    runs = MlflowStore(uri, "some", tmp_path)
    assert runs.find("latest").run_id == made["long"]
    assert runs.find("best").run_id == made["short"]  # of equals the first
    assert runs.find(made["failed"]).name == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["champion", "models:/char-rnn@champion", "models:/char-rnn/1", "models:/a/b/c", "f" * 32]
)
def test_a_name_that_there_is_not(name: str, store: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    from src.tracking.mlflow_store import MlflowStore

    with pytest.raises(UserError, match=f"^run: expected latest, best, an alias .* got {re.escape(name)}$"):
        MlflowStore(store[0], "some", tmp_path).find(name)


@pytest.mark.slow
def test_a_run_without_a_model_is_not_registered(store: tuple[str, dict[str, str]]) -> None:
    from src.tracking.mlflow_client import connect, set_champion

    uri, made = store
    with pytest.raises(UserError, match="register: expected a run with a logged model"):
        set_champion(uri, made["short"])
    assert connect(uri).search_registered_models() == []


@pytest.mark.parametrize("ask", ["find", "register"])
def test_a_store_out_of_reach_is_one_line(ask: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from src.tracking.mlflow_client import set_champion
    from src.tracking.mlflow_store import MlflowStore

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    call: dict[str, Callable[[], Any]] = {
        "find": lambda: MlflowStore("http://127.0.0.1:9", "some", tmp_path).find("champion"),
        "register": lambda: set_champion("http://127.0.0.1:9", "0" * 32),
    }
    with pytest.raises(UserError, match=r"tracking\.uri: expected a store that answers at http://127"):
        call[ask]()
