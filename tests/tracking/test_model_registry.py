"""Registered models, and the names that find a run in MLflow."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.job_result import JobResult
from src.config.schema import PathsConfig
from src.sweeps.summary import register_best
from tests.commands import CommandResult, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import artifact_text, connect

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false", "figures=false",
         "register=true")  # fmt: skip
# The messages of a registration.
REGISTERED = re.compile(
    r"^registered: char-rnn version (\d+), alias champion, run (\w+)\n"
    r"serve it with: MLFLOW_TRACKING_URI=(\S+) mlflow models serve -m models:/char-rnn@champion "
    r"--env-manager local$",
    re.MULTILINE,
)


@dataclass
class Registered:
    """A registered run, and then a sweep in the same store whose best job is registered."""

    uri: str
    path_overrides: list[str]
    single: CommandResult
    sweep: CommandResult

    @property
    def run_ids(self) -> tuple[str, str]:
        """The ids of the single run and of the best job."""
        single = self.single.out.splitlines()[-1].rpartition("run=")[2]
        (best,) = re.findall(r"^best: .* run=(\w+)$", self.sweep.out, re.MULTILINE)
        return single, best

    @property
    def champion(self) -> tuple[int, str]:
        """Version and run id of the champion."""
        version = connect(self.uri).get_model_version_by_alias("char-rnn", "champion")
        return int(version.version), version.run_id


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory, command: RunCli) -> Registered:
    root = tmp_path_factory.mktemp("register")
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]
    single = command("src.train", "hidden=8", *SMALL, *path_overrides).check()
    sweep = command("src.train", "--multirun", "hidden=0,8,16", "seed=2", *SMALL, *path_overrides)
    return Registered(f"sqlite:///{root / 'outputs' / 'mlflow.db'}", path_overrides, single, sweep)


def test_single_run_and_then_best_job_are_registered(registered: Registered) -> None:
    single, best = registered.run_ids
    err = registered.single.err
    assert REGISTERED.findall(err) == [("1", single, registered.uri)]
    assert "mlflow." not in err.lower().replace("mlflow.db", "")
    assert "INFO" not in err
    assert err.endswith("--env-manager local\n")
    assert registered.sweep.rc == 1  # a job failed
    assert "Traceback" not in registered.sweep.err
    assert REGISTERED.findall(registered.sweep.err) == [("2", best, registered.uri)]
    assert registered.champion == (2, best)
    assert connect(registered.uri).get_model_version("char-rnn", "1").aliases == []


@pytest.mark.usefixtures("started_syncs")
def test_registered_model_equals_run(registered: Registered, run_cli: RunCli, tmp_path: Path) -> None:
    """The name of an alias is looked up in MLflow, which also receives the text."""
    import mlflow

    from src.tracking.mlflow_store import MlflowStore

    single, best = registered.run_ids
    client, store = connect(registered.uri), MlflowStore(registered.uri, "char-rnn", tmp_path)
    client.set_registered_model_alias("char-rnn", "before", "1")
    names = ("champion", "models:/char-rnn@champion", "models:/char-rnn/2", best, "before")
    assert [store.find(name).run_id for name in names] == [best, best, best, best, single]
    model = mlflow.pyfunc.load_model("models:/char-rnn@champion")
    text = model.predict({"prompt": ["when "]}, params={"temperature": 0.7, "length": 30, "seed": 1})[0]
    for name, described in (("champion", f"run=champion: {best}"), (best, f"run {best}")):
        result = run_cli("sample", f"run={name}", "prompt=when ", "length=30", *registered.path_overrides)
        assert (result.rc, result.out) == (0, f"when {text}\n")
        assert re.fullmatch(rf"{described}, hidden=\d+ seed=2 [^,]*, val/loss \d\.\d{{4}}\n", result.err)
        written = [file.path for file in client.list_artifacts(best, "samples") if "written" in file.path]
        assert [artifact_text(client, client.get_run(best), file) for file in written] == [result.out]


def test_registered_model_is_described(registered: Registered) -> None:
    client = connect(registered.uri)
    model, version = client.get_registered_model("char-rnn"), client.get_model_version("char-rnn", "2")
    for text, address in ((model.description, "char-rnn@champion"), (version.description, "char-rnn/2")):
        code = re.findall(r"```python\n(.*?)\n```", text, re.DOTALL)[0].splitlines()
        assert len(code) == 3
        assert (code[1], code[2]) == (
            f'mlflow.set_tracking_uri("{registered.uri}")',
            f'model = mlflow.pyfunc.load_model("models:/{address}")',
        )
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "char-rnn", "version": "2"}]
    run = client.get_run(registered.run_ids[1])
    assert version.description.startswith(f"val/loss **{run.data.metrics['val/loss']:.4f}**")
    assert {m.key: m.value for m in logged.metrics}["val/loss"] == run.data.metrics["val/loss"]


def test_registering_again_moves_alias(registered: Registered) -> None:
    from src.tracking.mlflow_client import set_champion

    for version, run_id in enumerate(registered.run_ids, start=1):
        assert set_champion(registered.uri, run_id) == version
        assert registered.champion == (version, run_id)
    assert len(connect(registered.uri).search_model_versions("name = 'char-rnn'")) == 2


def test_reused_job_can_be_registered(registered: Registered, command: RunCli) -> None:
    overrides = ["hidden=8,16", "seed=2", "skip_finished=true", *SMALL, *registered.path_overrides]
    again = command("src.train", "--multirun", *overrides)
    assert again.err.count("reused run") == 2
    assert REGISTERED.findall(again.err) == [("2", registered.run_ids[1], registered.uri)]


def test_register_requires_uploaded_run(run_cli: RunCli, tmp_path: Path) -> None:
    from src.tracking.mlflow_client import register

    sweep = ("--multirun", "hidden=8,16", "tracking=none", *SMALL, f"output_dir={tmp_path / 'o'}")
    expected = "expected false with tracking=none (there is no registry), got true"
    assert run_cli("train", *sweep).error_line == f"train: register: {expected}"
    assert not (tmp_path / "o").exists()
    with pytest.raises(UserError, match=r"^register: expected an uploaded run, got name, which is not"):
        register("name", "name", PathsConfig("o", "d"))


@pytest.mark.parametrize(
    ("loss", "status", "reason"),
    [(1.0, "KILLED", "the sweep did not finish (KILLED)"), (None, "FINISHED", "no job has a val/loss")],
)
def test_failed_sweep_is_not_registered(
    loss: float | None, status: str, reason: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.tracking.mlflow_client.register", lambda *_: pytest.fail("registered"))
    metrics = {} if loss is None else {"val/loss": loss}
    results = [JobResult("hidden=8", 0, {"hidden": "8"}, "id", "FINISHED", metrics=metrics)]
    register_best(results, PathsConfig("o", "d"), status)
    assert capsys.readouterr().err == f"not registered: {reason}\n"


@pytest.fixture(scope="module")
def run_ids(client: Any) -> dict[str, str]:
    """Ids by name of the runs in the experiment "some" of the shared store."""
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
        tags = {
            "stage": stage,
            "data_digest": "text",
            "job_digest": name,
            "stop_reason": "pruned" if name == "short" else "",
        }
        run_id = client.create_run(experiment, start, tags, name).info.run_id
        if loss is not None:
            client.log_metric(run_id, "val/loss", loss)
        client.set_terminated(run_id, status, end)
        run_ids[name] = run_id
    return run_ids


def test_latest_and_best_by_end_time_and_loss(run_ids: dict[str, str], trained: Any) -> None:
    from src.tracking.mlflow_store import MlflowStore

    store = MlflowStore(trained.uri, "some", trained.outputs)
    assert [run.name for run in store.finished()] == ["long", "without", "equal", "short"]
    assert store.find("latest").run_id == run_ids["long"]
    assert store.find("best").run_id == run_ids["short"]  # ties: the first
    assert store.find(run_ids["failed"]).name == "failed"
    jobs = [store.find_job(digest) for digest in ("long", "short", "failed")]
    assert [job and job.name for job in jobs] == ["long", None, None]  # the second one was pruned


def test_unknown_name_is_rejected(trained: Any) -> None:
    from src.tracking.mlflow_store import MlflowStore

    store = MlflowStore(trained.uri, "some", trained.outputs)
    for name in ("nobody", "models:/char-rnn@nobody", "models:/char-rnn/99", "models:/a/b/c", "f" * 32):
        with pytest.raises(UserError, match=f"^run: expected latest, best, an alias .* got {name}$"):
            store.find(name)


def test_run_without_model_is_not_registered(run_ids: dict[str, str], client: Any, trained: Any) -> None:
    from src.tracking.mlflow_client import set_champion
    from src.tracking.mlflow_store import MlflowStore

    with pytest.raises(UserError, match="register: expected a run with a logged model"):
        set_champion(trained.uri, run_ids["short"])
    store = MlflowStore(trained.uri, "some", trained.outputs)
    with pytest.raises(UserError, match=r"^run: expected a run with a logged model"):
        store.load_model(store.find(run_ids["short"]))
    assert client.search_model_versions(f"run_id = '{run_ids['short']}'") == []


@pytest.mark.usefixtures("no_retries")
def test_unreachable_store_is_reported(run_cli: RunCli, trained: Any) -> None:
    from src.tracking.mlflow_client import set_champion

    uri = "http://127.0.0.1:9"
    expected = f"tracking.uri: expected a store that answers at {uri}, got "
    with pytest.raises(UserError, match=f"^{expected}"):
        set_champion(uri, "0" * 32)
    result = run_cli("evaluate", "run=champion", f"tracking.uri={uri}", *trained.path_overrides)
    assert result.error_line.startswith(f"evaluate: {expected}")
