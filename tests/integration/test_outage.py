"""Sync after server outages, interruptions and concurrent starts: complete and without duplicates."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.outage import at_once, compare, outage
from src.common.errors import UserError
from src.common.file_lock import acquire
from src.tracking.event_log import EventLog
from src.tracking.sync_state import TRACKING, SyncState
from tests.commands import PROJECT, TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


@pytest.fixture(scope="module")
def data(trained: Any) -> Path:
    return Path(trained.root / "data")


def differences(report: dict[str, Any]) -> dict[str, Any]:
    counters = ("points_lost", "points_twice", "artifacts_lost", "artifacts_twice")
    return {name: report[name] for name in counters if report.get(name)}


def test_sync_after_server_outage_is_complete(data: Path, tmp_path: Path) -> None:
    """Training continues during the outage: benchmarks/outage.json has the pauses."""
    report = outage(tmp_path, data)
    assert report["status"] == 0, report
    assert differences(report) == {}
    assert (report["runs"], report["models"], report["run_status"]) == (1, 1, "FINISHED")
    assert report["points"] > 100
    assert report["artifacts"] >= 8
    assert report["longest_pause_from_the_outage_on_seconds"] < report["server_away_seconds"]
    assert report["output"].startswith("test/bpc=")


def test_concurrent_runs_create_database_once(data: Path, tmp_path: Path) -> None:
    """The benchmark uses eight runs."""
    report = at_once(tmp_path, data, count=2)
    assert (report["finished"], report["uploaded"], report["models"]) == (2, 2, 2), report
    assert report["points"] > 2 * 20
    assert differences(report) == {}


def artifact_uri(folder: Path) -> str:
    """Return the artifact location of a new experiment."""
    return (folder.parent / "artifacts").as_uri()


def write_run(folder: Path, uri: str) -> Path:
    """Write a run with points, a file and a model that is not uploaded."""
    (folder / "model").mkdir(parents=True)
    (folder / "note.txt").write_text("a note")
    (folder / "model" / "weights").write_text("w")
    (folder / "tracking.json").write_text(json.dumps({"uri": uri, "artifacts": artifact_uri(folder)}))
    event_log = EventLog(folder)
    event_log.start("cut off", folder.name, {"hidden": 8}, {"stage": "train"}, None)
    for step in range(20):
        event_log.metrics(step, {"lr": 0.5, "train/loss": 1 / (step + 1)})
    event_log.artifact(folder / "note.txt")
    event_log.metrics(20, {"val/loss": float("nan")})
    event_log.model(folder / "model")
    event_log.end("FINISHED", "max_epochs")
    return folder


class Interrupted(Exception):
    """Simulated kill of the process."""


@pytest.mark.parametrize("after", [True, False])
def test_interrupted_sync_creates_no_duplicates(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt every call that changes the store, before it and after it.

    Metric points may be sent again; the database drops identical ones.
    """
    import mlflow

    from src.tracking import sync

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = write_run(tmp_path / "run", uri)
    calls_left = {"left": -1}

    def interrupting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls_left["left"] -= 1
            if calls_left["left"] == 0 and not after:
                raise Interrupted
            result = function(*arguments, **named)
            if calls_left["left"] == 0:
                raise Interrupted
            return result

        return call

    base = mlflow.MlflowClient

    calls = ("create_run", "log_batch", "log_artifact", "set_terminated")
    client_methods = {name: interrupting(getattr(base, name)) for name in calls}
    connect(uri)  # create the database
    monkeypatch.setattr(sync, "connect", type("Client", (base,), client_methods))
    monkeypatch.setattr(mlflow.pyfunc, "log_model", interrupting(mlflow.pyfunc.log_model))
    interruptions = 0
    while not SyncState.load(folder).is_complete(folder):
        interruptions += 1
        assert interruptions < 50
        calls_left["left"] = interruptions  # interrupt one call later
        try:
            sync.sync_all([folder])
        except Interrupted:
            acquire(folder, "sync.lock", timeout=0).release()  # the lock is free
    assert interruptions > 3
    report = compare(folder, uri)
    assert differences(report) == {}
    assert report["points"] == 41
    assert (report["runs"], report["models"], report["run_status"]) == (1, 1, "FINISHED")


def test_resumed_run_status(tmp_path: Path) -> None:
    from src.tracking import sync

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = write_run(tmp_path / "run", uri)
    sync.sync_all([folder])
    run_id = SyncState.load(folder).run_id
    client = connect(uri)
    event_log = EventLog(folder)
    event_log.resume()
    syncer = sync.RunSyncer(folder)
    syncer.sync(active=True)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags.get("stop_reason")) == ("RUNNING", None)
    assert not syncer.state.is_complete(syncer.folder)
    event_log.metrics(21, {"lr": 0.25})
    event_log.end("KILLED", "interrupted")
    syncer.sync(active=True)
    assert syncer.state.is_complete(syncer.folder)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "interrupted")
    assert [m.step for m in client.get_metric_history(run_id, "lr")] == [*range(20), 21]


def test_concurrent_syncs_of_one_run(tmp_path: Path, command: RunCli) -> None:
    folder = write_run(tmp_path / "runs" / "one", f"sqlite:///{tmp_path / 'mlflow.db'}")
    lock = acquire(folder, "sync.lock")
    result = command("src.sync", str(folder))
    assert result.error_line == (
        f"sync: expected a directory that no other process uses, got {folder}, used by process "
        f"{os.getpid()} on {os.uname().nodename}"
    )
    lock.release()
    # Two processes: one uploads, the other reports the lock or finds nothing to do.
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "src.sync", str(folder)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=TIME_LIMIT) for process in processes]
    assert 0 in [process.returncode for process in processes], outputs
    report = compare(folder, f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (report["runs"], report["models"]) == (1, 1)


def test_sync_uploads_all_pending_runs(tmp_path: Path, command: RunCli) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for name in ("one", "two"):
        write_run(tmp_path / "runs" / name, uri)
    result = command("src.sync", str(tmp_path)).check()
    assert result.out.count(f" to {uri}: run=") == 2
    again = command("src.sync", str(tmp_path))
    assert (again.rc, again.out) == (0, "everything is uploaded\n")


def test_offline_sweep_is_uploaded_later(data: Path, tmp_path: Path, command: RunCli, trained: Any) -> None:
    """The command of the message uploads the parent run and the jobs."""
    settings = ("hidden=8,12", "max_epochs=0.02", "workers=1", "length=20", "tracking.experiment=swept late",
                "figures=false")  # fmt: skip
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking.uri=http://127.0.0.1:9")
    result = command("src.train", "--multirun", *settings, *path_overrides).check()
    (folder,) = tmp_path.glob("sweeps/*/events.jsonl")
    sweep = folder.parent
    (line,) = [line for line in result.err.splitlines() if "upload it with" in line]
    assert line.endswith(f"python -m src.sync {sweep}")
    assert (sweep / "comparison.html").exists()
    names = {file.parent.name for file in tmp_path.glob("runs/*/events.jsonl")}
    assert len(names) == 2
    assert all(name in result.out for name in names)
    for file in [
        sweep / "tracking.json",
        *tmp_path.glob("runs/*/tracking.json"),
    ]:  # the server is reachable again
        store = {"uri": trained.uri, "artifacts": (trained.outputs / "artifacts").as_uri()}
        file.write_text(json.dumps(json.loads(file.read_text()) | store))
    command("src.sync", str(sweep)).check()
    client = connect(trained.uri)
    runs = client.search_runs([client.get_experiment_by_name("swept late").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {child.data.tags["run_dir"] for child in children} == names
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.tags["sweep.best_run"] in {child.info.run_id for child in children}
    command("src.evaluate", f"run={names.pop()}", f"output_dir={tmp_path}", f"data_dir={data}",
                      f"tracking.uri={trained.uri}").check()  # fmt: skip


def test_job_is_not_uploaded_before_sweep(tmp_path: Path) -> None:
    from src.tracking import sync

    folder = write_run(tmp_path / "job", "")
    store = {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "artifacts": "", "sweep": str(tmp_path / "sweep")}
    (folder / TRACKING).write_text(json.dumps(store))
    with pytest.raises(UserError, match=r"whose sweep is uploaded, got .*: upload the sweep first with "):
        sync.RunSyncer(folder).sync(active=False)
