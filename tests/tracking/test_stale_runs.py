"""Stale runs are closed by the next command that reads their directory."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.file_lock import acquire
from src.tracking import sync_state
from src.tracking.event_log import NAME, EventLog, read_lines
from src.tracking.sync_state import TRACKING, SyncState
from tests.commands import TIME_LIMIT


def journal_of(folder: Path) -> EventLog:
    folder.mkdir(parents=True)
    (folder / TRACKING).touch()
    journal = EventLog(folder)
    journal.start("e", "n", {}, {}, None)
    return journal


def last(folder: Path) -> dict[str, Any]:
    return [record for _, record in read_lines(folder, 0)][-1]


def test_only_what_has_no_end_and_nobody_holds_is_dead(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    names = ("dead", "torn", "long", "ended", "living", "mute")
    journals = {name: journal_of(runs / name) for name in names}
    journals["torn"].metrics(1, {"lr": 0.5})
    journals["long"].table("t", [{"text": "x" * 100_000}])
    journals["ended"].end("FINISHED")
    for journal in journals.values():
        journal.file.close()
    with (runs / "torn" / NAME).open("a") as file:
        file.write('{"kind": "met')
    (runs / "mute" / NAME).write_text('{"kind": "sta')  # killed in its very first line
    (runs / "nothing").mkdir()
    living = acquire(runs / "living")
    sweep = journal_of(tmp_path / "sweeps" / "one")
    sweep.file.close()
    found = {"dead", "torn", "long", "one"}
    assert {folder.name for folder in sync_state.close_stale_runs(tmp_path)} == found
    for folder in [*(runs / name for name in ("dead", "torn", "long")), tmp_path / "sweeps" / "one"]:
        assert last(folder) | {"time": 0} == {
            "kind": "end", "status": "FAILED", "reason": sync_state.STALE_REASON, "time": 0,
        }  # fmt: skip
    assert [record["kind"] for _, record in read_lines(runs / "torn", 0)] == ["start", "metrics", "end"]
    assert last(runs / "living")["kind"] == "start"
    assert sync_state.close_stale_runs(tmp_path) == []
    living.release()
    assert [folder.name for folder in sync_state.close_stale_runs(tmp_path)] == ["living"]


def test_a_resumed_run_that_dies_again_is_closed_again(tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "runs" / "one")
    journal.end("KILLED", "interrupted")
    assert sync_state.close_stale_runs(tmp_path) == []
    journal = EventLog(tmp_path / "runs" / "one")
    journal.resume()
    journal.file.close()
    assert len(sync_state.close_stale_runs(tmp_path)) == 1
    kinds = [record["kind"] for _, record in read_lines(tmp_path / "runs" / "one", 0)]
    assert kinds == ["start", "end", "resumed", "end"]


def test_of_ended_runs_only_the_end_of_the_journal_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        journal = journal_of(tmp_path / "runs" / str(k))
        journal.table("t", [{"text": "x" * 10_000}])
        journal.end("FINISHED")
    monkeypatch.setattr("src.tracking.event_log.read_lines", None)  # the reader of whole journals
    monkeypatch.setattr("src.tracking.sync_state.acquire", None)
    assert sync_state.close_stale_runs(tmp_path) == []


def test_where_nothing_was_tracked_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_of(tmp_path / "runs" / "one").file.close()
    (tmp_path / "runs" / "one" / TRACKING).unlink()
    monkeypatch.setattr(sync_state, "start_background_sync", lambda *_: pytest.fail("started a process"))
    sync_state.close_stale_runs_and_sync(tmp_path)
    assert last(tmp_path / "runs" / "one")["status"] == "FAILED"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
def test_the_next_command_closes_what_was_killed_in_the_tracker_too(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    """Here it finds no run to score; a second one finds nothing to do."""
    folder = tmp_path / "runs" / "killed"
    journal_of(folder).file.close()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (folder / "tracking.json").write_text(json.dumps({"uri": uri, "artifacts": tmp_path.as_uri()}))
    typed("evaluate", "tracking.experiment=none there", f"output_dir={tmp_path}", f"data_dir={tmp_path}")
    until = time.monotonic() + TIME_LIMIT
    while not SyncState.load(folder).is_complete(folder) and time.monotonic() < until:
        time.sleep(0.1)
    from src.tracking.mlflow_client import connect

    client = connect(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert (run.info.status, run.data.tags["stop_reason"]) == ("FAILED", sync_state.STALE_REASON)
    assert sync_state.close_stale_runs(tmp_path) == []
