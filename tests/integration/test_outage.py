"""A tracker that goes away, a delivery that is cut off, processes that begin at once: all told once."""

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
from tests.commands import TIME_LIMIT
from tests.conftest import PROJECT

# MLflow's own warnings, about its own dependencies.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def data(trained: Any) -> Path:
    return Path(trained.root / "data")


def nothing_lost(found: dict[str, Any]) -> dict[str, Any]:
    wrong = ("points_lost", "points_twice", "artifacts_lost", "artifacts_twice")
    return {name: found[name] for name in wrong if found.get(name)}


def test_a_server_that_is_killed_and_comes_back_has_everything_once(data: Path, tmp_path: Path) -> None:
    """And training goes on meanwhile: see the pauses in benchmarks/outage.json."""
    found = outage(tmp_path, data)
    assert found["status"] == 0, found
    assert nothing_lost(found) == {}
    assert (found["runs"], found["models"], found["run_status"]) == (1, 1, "FINISHED")
    assert found["points"] > 100
    assert found["artifacts"] >= 8
    assert found["longest_pause_from_the_outage_on_seconds"] < found["server_away_seconds"]
    assert found["said"].startswith("test/bpc=")


def test_runs_begin_at_once_without_a_database(data: Path, tmp_path: Path) -> None:
    """The first find no database, the others one that is being made. (The benchmark has eight.)"""
    found = at_once(tmp_path, data, count=4)
    assert (found["finished"], found["delivered"], found["models"]) == (4, 4, 4), found
    assert found["points"] > 4 * 20
    assert nothing_lost(found) == {}


# --- delivering that is cut off ---


def files_of(folder: Path) -> str:
    """Where the artifacts of a fresh experiment go."""
    return (folder.parent / "artifacts").as_uri()


def told(folder: Path, uri: str) -> Path:
    """A run with points, a file and a model, not delivered yet."""
    (folder / "model").mkdir(parents=True)
    (folder / "note.txt").write_text("a note")
    (folder / "model" / "weights").write_text("w")
    (folder / "tracking.json").write_text(json.dumps({"uri": uri, "artifacts": files_of(folder)}))
    journal = EventLog(folder)
    journal.start("cut off", folder.name, {"hidden": 8}, {"stage": "train"}, None)
    for step in range(20):
        journal.metrics(step, {"lr": 0.5, "train/loss": 1 / (step + 1)})
    journal.artifact(folder / "note.txt")
    journal.metrics(20, {"val/loss": float("nan")})
    journal.model(folder / "model")
    journal.end("FINISHED", "max_epochs")
    return folder


class Cut(Exception):
    """The process is killed here."""


@pytest.mark.parametrize("after", [True, False])
def test_wherever_a_delivery_is_cut_off_nothing_is_there_twice(
    after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every call that changes the store: before it, and after it, before that is noted.

    Metric points that may have arrived are sent again; the database drops identical ones.
    """
    import mlflow

    from src.tracking import sync
    from src.tracking.mlflow_client import connect

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = told(tmp_path / "run", uri)
    fuse = {"left": -1}

    def cutting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            fuse["left"] -= 1
            if fuse["left"] == 0 and not after:
                raise Cut
            result = function(*arguments, **named)
            if fuse["left"] == 0:
                raise Cut
            return result

        return call

    base = mlflow.MlflowClient

    calls = ("create_run", "log_batch", "log_artifact", "set_terminated")
    cut = {name: cutting(getattr(base, name)) for name in calls}
    connect(uri)  # makes the database
    monkeypatch.setattr(sync, "connect", type("Client", (base,), cut))
    monkeypatch.setattr(mlflow.pyfunc, "log_model", cutting(mlflow.pyfunc.log_model))
    cuts = 0
    while not SyncState.load(folder).is_complete(folder):
        cuts += 1
        assert cuts < 50
        fuse["left"] = cuts  # each time one call further
        try:
            sync.sync_all([folder])
        except Cut:
            acquire(folder, "sync.lock", timeout=0).release()  # nobody has it any more
    assert cuts > 3
    found = compare(folder, uri)
    assert nothing_lost(found) == {}
    assert found["points"] == 41
    assert (found["runs"], found["models"], found["run_status"]) == (1, 1, "FINISHED")


def test_a_resumed_run_is_running_again_and_ends_again(tmp_path: Path) -> None:
    from src.tracking import sync
    from src.tracking.mlflow_client import connect

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    folder = told(tmp_path / "run", uri)
    sync.sync_all([folder])
    run_id = SyncState.load(folder).run_id
    client = connect(uri)
    journal = EventLog(folder)
    journal.resume()
    syncer = sync.RunSyncer(folder)
    syncer.sync(active=True)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags.get("stop_reason")) == ("RUNNING", None)
    assert not syncer.state.is_complete(syncer.folder)
    journal.metrics(21, {"lr": 0.25})
    journal.end("KILLED", "interrupted")
    syncer.sync(active=True)
    assert syncer.state.is_complete(syncer.folder)
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "interrupted")
    assert [m.step for m in client.get_metric_history(run_id, "lr")] == [*range(20), 21]


def test_two_deliverers_of_one_journal_are_never_at_work_at_once(tmp_path: Path, command: Any) -> None:
    folder = told(tmp_path / "runs" / "one", f"sqlite:///{tmp_path / 'mlflow.db'}")
    other = acquire(folder, "sync.lock")
    ended = command("src.sync", str(folder))
    assert ended.rc == 2
    assert ended.complaint == (
        f"sync: expected a directory that no other process uses, got {folder}, used by process "
        f"{os.getpid()} on {os.uname().nodename}"
    )
    other.release()
    # Two at once: one delivers, the other says who does, or finds it done.
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "src.sync", str(folder)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=TIME_LIMIT) for process in both]
    assert 0 in [process.returncode for process in both], said
    found = compare(folder, f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (found["runs"], found["models"]) == (1, 1)


def test_everything_undelivered_is_delivered_by_one_command(tmp_path: Path, command: Any) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for name in ("one", "two"):
        told(tmp_path / "runs" / name, uri)
    ended = command("src.sync", str(tmp_path))
    assert ended.rc == 0, ended.err
    assert ended.out.count(f" to {uri}: run=") == 2
    again = command("src.sync", str(tmp_path))
    assert (again.rc, again.out) == (0, "everything is uploaded\n")


def test_a_sweep_without_its_server_is_delivered_whole_afterwards(
    data: Path, tmp_path: Path, command: Any, trained: Any
) -> None:
    """The jobs' table has no ids then; the command that the message names brings parent and jobs."""
    settings = ("hidden=8,12", "max_epochs=0.02", "workers=1", "length=20", "tracking.experiment=swept late",
                "figures=false")  # fmt: skip
    places = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking.uri=http://127.0.0.1:9")
    ended = command("src.train", "--multirun", *settings, *places)
    assert ended.rc == 0, ended.err
    (folder,) = tmp_path.glob("sweeps/*/events.jsonl")
    sweep = folder.parent
    (line,) = [line for line in ended.err.splitlines() if "upload it with" in line]
    assert line.endswith(f"python -m src.sync {sweep}")
    assert (sweep / "comparison.html").exists()
    names = {file.parent.name for file in tmp_path.glob("runs/*/events.jsonl")}
    assert len(names) == 2
    assert all(name in ended.out for name in names)
    for file in [sweep / "tracking.json", *tmp_path.glob("runs/*/tracking.json")]:  # the server is back
        there = {"uri": trained.uri, "artifacts": (trained.outputs / "artifacts").as_uri()}
        file.write_text(json.dumps(json.loads(file.read_text()) | there))
    late = command("src.sync", str(sweep))
    assert late.rc == 0, late.err
    from src.tracking.mlflow_client import connect

    client = connect(trained.uri)
    runs = client.search_runs([client.get_experiment_by_name("swept late").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {child.data.tags["run_dir"] for child in children} == names
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.tags["sweep.best_run"] in {child.info.run_id for child in children}
    by_name = command("src.evaluate", f"run={names.pop()}", f"output_dir={tmp_path}", f"data_dir={data}",
                      f"tracking.uri={trained.uri}")  # fmt: skip
    assert by_name.rc == 0, by_name.err


def test_a_job_is_not_delivered_before_its_sweep(tmp_path: Path) -> None:
    from src.tracking import sync

    folder = told(tmp_path / "job", "")
    store = {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "artifacts": "", "sweep": str(tmp_path / "sweep")}
    (folder / TRACKING).write_text(json.dumps(store))
    with pytest.raises(UserError, match=r"whose sweep is uploaded, got .*: upload the sweep first with "):
        sync.RunSyncer(folder).sync(active=False)
