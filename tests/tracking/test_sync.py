"""Sync of event logs: every point once, during the run, and after outages."""

import json
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.files import write_text
from src.tracking.run_record import read_events
from src.tracking.sync_state import STALE_REASON, SyncState, add_files
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


def test_growing_event_log_is_synced_once(
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

    def is_active(_: Path) -> bool:
        if pieces:
            event_file.write_bytes(content[: pieces.pop(0)])
        return True

    def check_upload() -> None:
        for name in CURVES:
            assert metric_history(client, run_id, name) == sorted(trained.curve(name)), name
        run = only_run(client, "growing")
        assert run.info.status == "FINISHED"
        assert run.data.params.keys() == trained.events[0]["params"].keys()
        assert len(json.loads(artifact_text(client, run, "samples.json"))["data"]) == 3

    monkeypatch.setattr(sync, "is_active", is_active)
    run_id = upload_to_shared_store(trained, folder).run_id
    assert not pieces
    check_upload()
    SyncState(content.index(b"\n") + 1, run_id).save(folder)  # a crash between upload and saved state
    assert upload_to_shared_store(trained, folder).run_id == run_id
    check_upload()


@pytest.mark.usefixtures("started_syncs")
def test_file_added_after_end_is_uploaded(client: Any, trained: Any, tmp_path: Path) -> None:
    folder = copy_event_log(trained, tmp_path / "run", "added")
    upload_to_shared_store(trained, folder)
    for name in ("a.txt", "gone.txt", "b.txt"):
        write_text(folder / "samples" / name, f"the text of {name}")
    add_files(folder, ["samples/a.txt", "samples/gone.txt", "samples/b.txt"])
    (folder / "samples" / "gone.txt").unlink()  # a person deleted it before the upload
    state = upload_to_shared_store(trained, folder)
    run = only_run(client, "added")
    for name in ("a.txt", "b.txt"):
        assert artifact_text(client, run, f"samples/{name}") == f"the text of {name}"
    assert (run.info.status, run.info.end_time) == ("FINISHED", read_events(folder).end_time)
    assert state.is_complete(folder)


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
    settings = ("hidden=8", "max_epochs=0.02", "length=20", "workers=1", "figures=false", "diagnostics=false",
                "tracking.experiment=late", "tracking.uri=http://127.0.0.1:9")  # fmt: skip
    path_overrides = (f"output_dir={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}")
    result = command("src.train", *settings, *path_overrides).check()
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
def test_invalid_directory_is_reported_in_one_line(trained: Any, tmp_path: Path, capsys: Any) -> None:
    from src import sync as sync_command

    folder = copy_event_log(trained, tmp_path / "run", "nowhere")
    (folder / "tracking.json").write_text(json.dumps({"uri": "http://127.0.0.1:9", "artifacts": ""}))
    other = "sync: expected all, an outputs folder, or the directory of a tracked run"
    for arguments, message in (
        ([str(folder)], "sync: tracking.uri: expected a store that answers at http://127.0.0.1:9, got "),
        ([str(tmp_path)], other),
        (["a", "b"], other),
    ):
        assert sync_command.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(message)
    (folder / "events.jsonl").write_text("")
    with pytest.raises(UserError, match="expected an event log with a start event"):
        upload_to_shared_store(trained, folder)
