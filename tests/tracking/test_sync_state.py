"""Sync states and stale runs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.file_lock import acquire, is_locked
from src.tracking import sync_state
from src.tracking.event_log import NAME, EventLog, read_lines
from src.tracking.run_record import read_events
from src.tracking.sync_state import STATE, TRACKING, SyncState, load_store
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import only_run

pytestmark = ignore_mlflow_warnings

WHOLE = '{"offset": 3, "run_id": "r", "experiment": "1", "ended": true}'
DAMAGED = ("", "[]", "{}", "{")
DAMAGED_STATES = (WHOLE.replace("3", '"3"'), WHOLE.replace("3", "-3"), WHOLE[:-1] + ', "more": 1}')
DAMAGED_STORES = ('{"uri": "u"}', '{"uri": 1, "artifacts": ""}', '{"uri": "u", "artifacts": null}')


def test_sync_state_round_trips(tmp_path: Path) -> None:
    assert SyncState.load(tmp_path) == SyncState()
    SyncState(3, "r", "1", True).save(tmp_path)
    assert SyncState.load(tmp_path) == SyncState(3, "r", "1", True)


@pytest.mark.parametrize(
    ("file", "load", "texts"),
    [(STATE, SyncState.load, DAMAGED_STATES), (TRACKING, load_store, DAMAGED_STORES)],
)
def test_damaged_file_is_rejected(file: str, load: Any, texts: tuple[str, ...], tmp_path: Path) -> None:
    for text in (*DAMAGED, *texts):
        (tmp_path / file).write_text(text)
        with pytest.raises(UserError, match=rf"^expected a whole {file}, got a damaged one in [^\n]*$"):
            load(tmp_path)


@pytest.mark.slow
def test_rejected_sync_releases_lock(tmp_path: Path) -> None:
    from src.tracking import sync

    (tmp_path / TRACKING).write_text('{"uri": "sqlite:///m.db", "artifacts": ""}')
    EventLog(tmp_path).start("e", "n", {}, {}, None)
    (tmp_path / STATE).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        sync.sync_all([tmp_path])
    assert not (tmp_path / f"{sync.LOCK}.owner").exists()
    (tmp_path / STATE).unlink()
    sync.RunSyncer(tmp_path).lock.release()


def new_event_log(folder: Path, experiment: str = "e") -> EventLog:
    folder.mkdir(parents=True)
    (folder / TRACKING).touch()
    event_log = EventLog(folder)
    event_log.start(experiment, "n", {}, {}, None)
    return event_log


def records(folder: Path) -> list[dict[str, Any]]:
    return [record for _, record in read_lines(folder, 0)]


def test_only_unlocked_runs_without_end_are_stale(tmp_path: Path) -> None:
    names = ("dead", "torn", "long", "ended", "living", "mute")
    folders = {name: tmp_path / "runs" / name for name in names} | {"one": tmp_path / "sweeps" / "one"}
    event_logs = {name: new_event_log(folder) for name, folder in folders.items()}
    event_logs["torn"].metrics(1, {"lr": 0.5})
    event_logs["long"].table("t", [{"text": "x" * 100_000}])
    event_logs["ended"].end("FINISHED")
    for event_log in event_logs.values():
        event_log.file.close()
    with (folders["torn"] / NAME).open("a") as file:
        file.write('{"kind": "met')
    (folders["mute"] / NAME).write_text('{"kind": "sta')  # killed in its first line
    (tmp_path / "runs" / "nothing").mkdir()
    living = acquire(folders["living"])
    stale = {folders[name] for name in ("dead", "torn", "long", "one")}
    assert set(sync_state.close_stale_runs(tmp_path)) == stale
    end = {"kind": "end", "status": "FAILED", "reason": sync_state.STALE_REASON, "time": 0}
    assert all(records(folder)[-1] | {"time": 0} == end for folder in stale)
    assert [record["kind"] for record in records(folders["torn"])] == ["start", "metrics", "end"]
    assert records(folders["living"])[-1]["kind"] == "start"
    assert sync_state.close_stale_runs(tmp_path) == []
    living.release()
    assert sync_state.close_stale_runs(tmp_path) == [folders["living"]]


def test_resumed_run_becomes_stale_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    new_event_log(folder).end("KILLED", "interrupted")
    assert sync_state.close_stale_runs(tmp_path) == []
    event_log = EventLog(folder)
    event_log.resume()
    event_log.file.close()
    assert sync_state.close_stale_runs(tmp_path) == [folder]
    assert [record["kind"] for record in records(folder)] == ["start", "end", "resumed", "end"]


def test_file_added_to_run_is_logged_and_run_stays_ended(
    tmp_path: Path, started_syncs: list[list[Path]]
) -> None:
    """A run that was resumed and killed is closed before."""
    ended, killed = tmp_path / "runs" / "ended", tmp_path / "runs" / "killed"
    new_event_log(ended).end("FINISHED", "max_epochs")
    new_event_log(killed).file.close()
    for folder in (ended, killed):
        sync_state.add_files(folder, ["samples/a.txt", "evaluation/b.json"])
        *_, end, first, second = records(folder)
        assert end["kind"] == "end"
        assert first == {"kind": "added", "path": "samples/a.txt", "folder": "samples"}
        assert second == {"kind": "added", "path": "evaluation/b.json", "folder": "evaluation"}
        assert not is_locked(folder)
    assert sync_state.close_stale_runs(tmp_path) == []
    assert started_syncs == [[ended], [killed]]
    assert [read_events(folder).status for folder in (ended, killed)] == ["FINISHED", "FAILED"]


def test_ended_runs_are_not_read_completely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event_log = new_event_log(tmp_path / "runs" / "one")
    event_log.table("t", [{"text": "x" * 10_000}])
    event_log.end("FINISHED")
    monkeypatch.setattr("src.tracking.event_log.read_lines", None)  # the reader of complete event logs
    monkeypatch.setattr("src.tracking.sync_state.acquire", None)
    assert sync_state.close_stale_runs(tmp_path) == []


def test_untracked_stale_run_starts_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_event_log(tmp_path / "runs" / "one").file.close()
    (tmp_path / "runs" / "one" / TRACKING).unlink()
    monkeypatch.setattr(sync_state, "start_background_sync", lambda *_: pytest.fail("started a process"))
    sync_state.close_stale_runs_and_sync(tmp_path)
    assert records(tmp_path / "runs" / "one")[-1]["status"] == "FAILED"


@pytest.mark.slow
def test_next_command_syncs_stale_run(run_cli: RunCli, client: Any, trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "killed"
    new_event_log(folder, tmp_path.name).file.close()
    (folder / TRACKING).write_text(json.dumps({"uri": trained.uri, "artifacts": tmp_path.as_uri()}))
    run_cli("evaluate", "tracking.experiment=none there", f"output_dir={tmp_path}", f"data_dir={tmp_path}")
    deadline = time.monotonic() + TIME_LIMIT
    while not SyncState.load(folder).is_complete(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    run = only_run(client, tmp_path.name)
    assert (run.info.status, run.data.tags["stop_reason"]) == ("FAILED", sync_state.STALE_REASON)
    assert sync_state.close_stale_runs(tmp_path) == []
