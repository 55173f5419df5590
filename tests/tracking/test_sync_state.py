"""src/tracking/sync_state.py: damaged files are refused in one line, and nothing stays behind."""

from pathlib import Path

import pytest

from src.common.errors import UserError
from src.tracking.event_log import EventLog
from src.tracking.sync_state import STATE, TRACKING, SyncState, load_store

WHOLE = '{"offset": 3, "run_id": "r", "experiment": "1", "ended": true}'


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert SyncState.load(tmp_path) == SyncState()
    SyncState(3, "r", "1", True).save(tmp_path)
    assert SyncState.load(tmp_path) == SyncState(3, "r", "1", True)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "{", WHOLE.replace("3", '"3"'), WHOLE.replace("3", "-3"), WHOLE[:-1] + ', "more": 1}'],
)
def test_a_damaged_state_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(text)
    with pytest.raises(UserError, match=rf"^expected a whole {STATE}, got a damaged one in [^\n]*$"):
        SyncState.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"uri": "u"}', '{"uri": 1, "artifacts": ""}', '{"uri": "u", "artifacts": null}']
)
def test_a_damaged_store_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / TRACKING).write_text(text)
    with pytest.raises(UserError, match=rf"^expected a whole {TRACKING}, got a damaged one in [^\n]*$"):
        load_store(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
def test_a_refused_sync_leaves_the_lock_free(tmp_path: Path) -> None:
    from src.tracking import sync

    (tmp_path / TRACKING).write_text('{"uri": "sqlite:///m.db", "artifacts": ""}')
    EventLog(tmp_path).start("e", "n", {}, {}, None)
    (tmp_path / STATE).write_text("{")
    with pytest.raises(UserError, match="damaged"):
        sync.sync_all([tmp_path])
    assert not (tmp_path / f"{sync.LOCK}.owner").exists()
    (tmp_path / STATE).unlink()
    sync.RunSyncer(tmp_path).lock.release()
