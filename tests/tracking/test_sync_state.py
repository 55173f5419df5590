"""Sync states and stale runs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.file_lock import acquire
from src.tracking import sync_state
from src.tracking.event_log import NAME, EventLog, read_lines
from src.tracking.sync_state import STATE, TRACKING, SyncState, load_store
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = ignore_mlflow_warnings

WHOLE = '{"offset": 3, "run_id": "r", "experiment": "1", "ended": true}'


def test_sync_state_round_trips(tmp_path: Path) -> None:
    assert SyncState.load(tmp_path) == SyncState()
    SyncState(3, "r", "1", True).save(tmp_path)
    assert SyncState.load(tmp_path) == SyncState(3, "r", "1", True)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "{", WHOLE.replace("3", '"3"'), WHOLE.replace("3", "-3"), WHOLE[:-1] + ', "more": 1}'],
)
def test_damaged_state_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(text)
    with pytest.raises(UserError, match=rf"^expected a whole {STATE}, got a damaged one in [^\n]*$"):
        SyncState.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"uri": "u"}', '{"uri": 1, "artifacts": ""}', '{"uri": "u", "artifacts": null}']
)
def test_damaged_store_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / TRACKING).write_text(text)
    with pytest.raises(UserError, match=rf"^expected a whole {TRACKING}, got a damaged one in [^\n]*$"):
        load_store(tmp_path)


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


def new_event_log(folder: Path) -> EventLog:
    folder.mkdir(parents=True)
    (folder / TRACKING).touch()
    event_log = EventLog(folder)
    event_log.start("e", "n", {}, {}, None)
    return event_log


def last_record(folder: Path) -> dict[str, Any]:
    return [record for _, record in read_lines(folder, 0)][-1]


def test_only_unlocked_runs_without_end_are_stale(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    names = ("dead", "torn", "long", "ended", "living", "mute")
    event_logs = {name: new_event_log(runs / name) for name in names}
    event_logs["torn"].metrics(1, {"lr": 0.5})
    event_logs["long"].table("t", [{"text": "x" * 100_000}])
    event_logs["ended"].end("FINISHED")
    for event_log in event_logs.values():
        event_log.file.close()
    with (runs / "torn" / NAME).open("a") as file:
        file.write('{"kind": "met')
    (runs / "mute" / NAME).write_text('{"kind": "sta')  # killed in its first line
    (runs / "nothing").mkdir()
    living = acquire(runs / "living")
    sweep = new_event_log(tmp_path / "sweeps" / "one")
    sweep.file.close()
    expected = {"dead", "torn", "long", "one"}
    assert {folder.name for folder in sync_state.close_stale_runs(tmp_path)} == expected
    for folder in [*(runs / name for name in ("dead", "torn", "long")), tmp_path / "sweeps" / "one"]:
        assert last_record(folder) | {"time": 0} == {
            "kind": "end", "status": "FAILED", "reason": sync_state.STALE_REASON, "time": 0,
        }  # fmt: skip
    assert [record["kind"] for _, record in read_lines(runs / "torn", 0)] == ["start", "metrics", "end"]
    assert last_record(runs / "living")["kind"] == "start"
    assert sync_state.close_stale_runs(tmp_path) == []
    living.release()
    assert [folder.name for folder in sync_state.close_stale_runs(tmp_path)] == ["living"]


def test_resumed_run_becomes_stale_again(tmp_path: Path) -> None:
    event_log = new_event_log(tmp_path / "runs" / "one")
    event_log.end("KILLED", "interrupted")
    assert sync_state.close_stale_runs(tmp_path) == []
    event_log = EventLog(tmp_path / "runs" / "one")
    event_log.resume()
    event_log.file.close()
    assert len(sync_state.close_stale_runs(tmp_path)) == 1
    kinds = [record["kind"] for _, record in read_lines(tmp_path / "runs" / "one", 0)]
    assert kinds == ["start", "end", "resumed", "end"]


def test_ended_runs_are_not_read_completely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(3):
        event_log = new_event_log(tmp_path / "runs" / str(k))
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
    assert last_record(tmp_path / "runs" / "one")["status"] == "FAILED"


@pytest.mark.slow
def test_next_command_syncs_stale_run(run_cli: RunCli, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "killed"
    new_event_log(folder).file.close()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (folder / "tracking.json").write_text(json.dumps({"uri": uri, "artifacts": tmp_path.as_uri()}))
    run_cli("evaluate", "tracking.experiment=none there", f"output_dir={tmp_path}", f"data_dir={tmp_path}")
    deadline = time.monotonic() + TIME_LIMIT
    while not SyncState.load(folder).is_complete(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    client = connect(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert (run.info.status, run.data.tags["stop_reason"]) == ("FAILED", sync_state.STALE_REASON)
    assert sync_state.close_stale_runs(tmp_path) == []
