"""Sync after server outages, interruptions and concurrent starts: complete and without duplicates."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import outage
from src.common.errors import UserError
from src.common.file_lock import acquire
from src.tracking.event_log import EventLog
from src.tracking.sync_state import TRACKING, SyncState
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect
from tests.sweep_runs import SHORT, NewDatabase, assert_complete, assert_synced, sweep_runs

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


@pytest.fixture
def uri(tmp_path: Path, new_database: NewDatabase) -> str:
    return new_database(tmp_path)


def test_sync_after_server_outage_is_complete(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training continues during the outage: benchmarks/outage.json has the pauses."""
    monkeypatch.setattr(outage, "AWAY", 1.0)
    report = outage.outage(tmp_path, data)
    assert_complete(report, status=0, runs=1, models=1, run_status="FINISHED")
    assert report["points"] > 100
    assert report["artifacts"] >= 8
    assert report["longest_pause_from_the_outage_on_seconds"] < report["server_away_seconds"]
    assert report["output"].startswith("test/bpc=")


def test_concurrent_runs_create_database_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark uses eight runs."""
    monkeypatch.setattr(outage, "SHORT", (*outage.SHORT, "figures=false", "diagnostics=false"))
    report = outage.at_once(tmp_path, data, count=2)
    assert_complete(report, finished=2, uploaded=2, models=2)
    assert report["points"] > 2 * 20


def write_run(folder: Path, uri: str, **store: str) -> Path:
    """Write a run with points, a file and a model that is not uploaded."""
    (folder / "model").mkdir(parents=True)
    (folder / "note.txt").write_text("a note")
    (folder / "model" / "weights").write_text("w")
    artifacts = (folder.parent / "artifacts").as_uri()
    (folder / TRACKING).write_text(json.dumps({"uri": uri, "artifacts": artifacts, **store}))
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
    after: bool, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt every call that changes the store, before it and after it.

    Metric points may be sent again; the database drops identical ones.
    """
    import mlflow

    from src.tracking import sync

    folder = write_run(tmp_path / "run", uri)
    calls_left = 0

    def interrupting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls_left
            calls_left -= 1
            interrupted = calls_left == 0
            if interrupted and not after:
                raise Interrupted
            result = function(*arguments, **named)
            if interrupted:
                raise Interrupted
            return result

        return call

    base = mlflow.MlflowClient
    calls = ("create_run", "log_batch", "log_artifact", "set_terminated")
    client_methods = {name: interrupting(getattr(base, name)) for name in calls}
    monkeypatch.setattr(sync, "connect", type("Client", (base,), client_methods))
    monkeypatch.setattr(mlflow.pyfunc, "log_model", interrupting(mlflow.pyfunc.log_model))
    connect(uri)  # the default store of log_model
    interruptions = 0
    while not SyncState.load(folder).is_complete(folder):
        interruptions += 1
        assert interruptions < 50
        calls_left = interruptions  # interrupt one call later
        try:
            sync.sync_all([folder])
        except Interrupted:
            acquire(folder, "sync.lock", timeout=0).release()  # the lock is free
    assert interruptions > 3
    report = outage.compare(folder, uri)
    assert_complete(report, points=41, runs=1, models=1, run_status="FINISHED")


def test_resumed_run_status(uri: str, tmp_path: Path) -> None:
    from src.tracking import sync

    folder = write_run(tmp_path / "run", uri)
    sync.sync_all([folder])
    run_id, client = SyncState.load(folder).run_id, connect(uri)
    event_log = EventLog(folder)
    event_log.resume()
    syncer = sync.RunSyncer(folder)

    def synced_status() -> tuple[str, str | None, bool]:
        syncer.sync(active=True)
        run = client.get_run(run_id)
        return run.info.status, run.data.tags.get("stop_reason"), syncer.state.is_complete(folder)

    assert synced_status() == ("RUNNING", None, False)
    event_log.metrics(21, {"lr": 0.25})
    event_log.end("KILLED", "interrupted")
    assert synced_status() == ("KILLED", "interrupted", True)
    assert [m.step for m in client.get_metric_history(run_id, "lr")] == [*range(20), 21]


def test_sync_uploads_all_pending_runs(uri: str, tmp_path: Path, command: RunCli) -> None:
    """A run that another process uploads is an error."""
    folder, _ = (write_run(tmp_path / "runs" / name, uri) for name in ("one", "two"))
    lock = acquire(folder, "sync.lock")
    assert command("src.sync", str(folder)).error_line == (
        f"sync: expected a directory that no other process uses, got {folder}, used by process "
        f"{os.getpid()} on {os.uname().nodename}"
    )
    lock.release()
    result = command("src.sync", str(tmp_path)).check()
    assert result.out.count(f" to {uri}: run=") == 2
    assert_synced(folder, uri)
    again = command("src.sync", str(tmp_path))
    assert (again.rc, again.out) == (0, "everything is uploaded\n")


def test_offline_sweep_is_uploaded_later(data: Path, uri: str, tmp_path: Path, command: RunCli) -> None:
    """The command of the message uploads the parent run and the jobs."""
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}")
    offline = ("tracking.uri=http://127.0.0.1:9", "tracking.experiment=swept late")
    result = command("src.train", "--multirun", "hidden=8,12", *SHORT, *offline, *path_overrides).check()
    (sweep,) = (file.parent for file in tmp_path.glob("sweeps/*/events.jsonl"))
    (line,) = [line for line in result.err.splitlines() if "upload it with" in line]
    assert line.endswith(f"python -m src.sync {sweep}")
    assert (sweep / "comparison.html").exists()
    names = {file.parent.name for file in tmp_path.glob("runs/*/events.jsonl")}
    assert len(names) == 2
    assert all(name in result.out for name in names)
    store = {"uri": uri, "artifacts": (tmp_path / "artifacts").as_uri()}  # the server is reachable again
    for file in tmp_path.glob(f"*/*/{TRACKING}"):
        file.write_text(json.dumps(json.loads(file.read_text()) | store))
    command("src.sync", str(sweep)).check()
    parent, children = sweep_runs(uri, "swept late")
    assert {child.data.tags["run_dir"] for child in children} == names
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.tags["sweep.best_run"] in {child.info.run_id for child in children}
    command("src.evaluate", f"run={names.pop()}", *path_overrides).check()


def test_job_is_not_uploaded_before_sweep(uri: str, tmp_path: Path) -> None:
    from src.tracking import sync

    folder = write_run(tmp_path / "job", uri, sweep=str(tmp_path / "sweep"))
    with pytest.raises(UserError, match=r"whose sweep is uploaded, got .*: upload the sweep first with "):
        sync.RunSyncer(folder).sync(active=False)
