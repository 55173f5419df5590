"""Sync of event logs: every point once, during the run, and after outages."""

import json
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.tracking.sync_state import STALE_REASON, SyncState
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import (
    CURVES,
    artifact_text,
    copy_event_log,
    metric_history,
    only_run,
    upload_to_shared_store,
)

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


def test_repeated_sync_adds_no_points(client: Any, trained: Any, tmp_path: Path) -> None:
    """As after a crash between upload and saved state."""
    folder = copy_event_log(trained, tmp_path / "run", "uploaded twice")
    run_id = upload_to_shared_store(trained, folder).run_id
    first_line_end = len((folder / "events.jsonl").read_bytes().split(b"\n")[0]) + 1
    SyncState(first_line_end, run_id).save(folder)
    assert upload_to_shared_store(trained, folder).run_id == run_id
    for name in CURVES:
        assert metric_history(client, run_id, name) == sorted(trained.curve(name)), name
    run = only_run(client, "uploaded twice")
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == trained.events[0]["params"].keys()
    assert len(json.loads(artifact_text(client, run, "samples.json"))["data"]) == 3, (
        "duplicate rows of the table"
    )


def test_growing_event_log_is_synced(
    client: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each poll continues where the last one stopped, also within a line."""
    from src.tracking import sync

    monkeypatch.setattr(sync, "POLL", 0.01)
    folder = copy_event_log(trained, tmp_path / "run", "growing")
    event_file = folder / "events.jsonl"
    content = event_file.read_bytes()
    pieces = [len(content) // 7 * k + 13 for k in range(1, 7)] + [len(content)]
    event_file.write_bytes(content[: pieces.pop(0)])
    polls = []

    def is_active(_: Path) -> bool:
        polls.append(len(pieces))
        if pieces:
            event_file.write_bytes(content[: pieces.pop(0)])
        return True

    monkeypatch.setattr(sync, "is_active", is_active)
    run_id = upload_to_shared_store(trained, folder).run_id
    assert len(polls) >= 6
    for name in CURVES:
        assert metric_history(client, run_id, name) == sorted(trained.curve(name)), name
    assert only_run(client, "growing").info.status == "FINISHED"


def test_event_log_without_end_is_marked_failed(client: Any, trained: Any, tmp_path: Path) -> None:
    folder = copy_event_log(trained, tmp_path / "run", "cut off")
    event_file = folder / "events.jsonl"
    event_file.write_text("".join(event_file.read_text().splitlines(keepends=True)[:20]) + '{"kind": "met')
    run_id = upload_to_shared_store(trained, folder).run_id
    run = only_run(client, "cut off")
    assert (run.info.run_id, run.info.status) == (run_id, "FAILED")
    assert run.data.tags["stop_reason"] == STALE_REASON


@pytest.mark.usefixtures("no_retries")
def test_unreachable_server_loses_no_data(command: RunCli, client: Any, trained: Any, tmp_path: Path) -> None:
    unreachable = "tracking.uri=http://127.0.0.1:9"
    settings = ("hidden=8", "max_epochs=0.02", "tracking.experiment=late", "figures=false", unreachable)
    result = command(
        "src.train", *settings, f"output_dir={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}"
    ).check()
    assert "Traceback" not in result.err
    assert result.out.startswith("test/bpc=")
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    (message,) = [line for line in result.err.splitlines() if "upload it with" in line]
    assert message.endswith(f"python -m src.sync {folder}")
    assert "http://127.0.0.1:9" in message
    assert (folder / "model" / "weights.safetensors").exists()
    state = upload_to_shared_store(trained, folder)  # the server is reachable: the shared database
    assert state.ended
    run = only_run(client, "late")
    assert (run.info.run_id, run.info.status) == (state.run_id, "FINISHED")


@pytest.mark.usefixtures("no_retries")
def test_sync_to_unreachable_server_is_reported(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from src import sync as sync_command

    folder = copy_event_log(trained, tmp_path / "run", "nowhere")
    (folder / "tracking.json").write_text(json.dumps({"uri": "http://127.0.0.1:9", "artifacts": ""}))
    assert sync_command.main([str(folder)]) != 0
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("sync: ")
    assert "http://127.0.0.1:9" in err


def test_sync_rejects_other_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from src import sync as sync_command

    for arguments in ([str(tmp_path)], ["a", "b"]):
        assert sync_command.main(arguments) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert err.startswith("sync: expected all, an outputs folder, or the directory of a tracked run")


def test_event_log_without_start_is_rejected(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    with pytest.raises(UserError, match="expected an event log with a start event"):
        upload_to_shared_store(trained, tmp_path)
