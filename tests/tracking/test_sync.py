"""From the journal to MLflow: every point once, while it grows, and later where no server answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.tracking.sync_state import STALE_REASON, SyncState
from tests.tracked_run import CURVES, deliver, delivered_copy, history, only_run, text_of

# MLflow's own warnings, about its own dependencies, are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_delivering_again_adds_no_point(client: Any, trained: Any, tmp_path: Path) -> None:
    """As after a crash between delivering and noting it: the note is old, the points are there."""
    folder = delivered_copy(trained, tmp_path / "run", "told twice")
    run_id = deliver(trained, folder).run_id
    behind_start = len((folder / "events.jsonl").read_bytes().split(b"\n")[0]) + 1
    SyncState(behind_start, run_id).save(folder)
    assert deliver(trained, folder).run_id == run_id
    for name in CURVES:
        assert history(client, run_id, name) == sorted(trained.curve(name)), name
    run = only_run(client, "told twice")
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == trained.journal[0]["params"].keys()
    assert len(json.loads(text_of(client, run, "samples.json"))["data"]) == 3, "nor a row of the table"


def test_a_journal_is_delivered_while_it_grows(
    client: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the journal takes up where the last one stopped, in the middle of a line too."""
    from src.tracking import sync

    monkeypatch.setattr(sync, "POLL", 0.01)
    folder = delivered_copy(trained, tmp_path / "run", "growing")
    journal = folder / "events.jsonl"
    whole = journal.read_bytes()
    pieces = [len(whole) // 7 * k + 13 for k in range(1, 7)] + [len(whole)]
    journal.write_bytes(whole[: pieces.pop(0)])
    looks = []

    def is_active(_: Path) -> bool:
        looks.append(len(pieces))
        if pieces:
            journal.write_bytes(whole[: pieces.pop(0)])
        return True

    monkeypatch.setattr(sync, "is_active", is_active)
    run_id = deliver(trained, folder).run_id
    assert len(looks) >= 6
    for name in CURVES:
        assert history(client, run_id, name) == sorted(trained.curve(name)), name
    assert only_run(client, "growing").info.status == "FINISHED"


def test_a_journal_without_an_end_is_told_as_failed(client: Any, trained: Any, tmp_path: Path) -> None:
    folder = delivered_copy(trained, tmp_path / "run", "cut off")
    journal = folder / "events.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:20]) + '{"kind": "met')
    run_id = deliver(trained, folder).run_id
    run = only_run(client, "cut off")
    assert (run.info.run_id, run.info.status) == (run_id, "FAILED")
    assert run.data.tags["stop_reason"] == STALE_REASON


@pytest.mark.usefixtures("no_retries")
def test_an_unreachable_server_loses_nothing(
    command: Callable[..., Any], client: Any, trained: Any, tmp_path: Path
) -> None:
    nowhere = "tracking.uri=http://127.0.0.1:9"
    settings = ("hidden=8", "max_epochs=0.02", "tracking.experiment=late", "figures=false", nowhere)
    ended = command(
        "src.train", *settings, f"output_dir={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}"
    )
    assert ended.rc == 0, ended.err
    assert "Traceback" not in ended.err
    assert ended.out.startswith("test/bpc=")
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    (told,) = [line for line in ended.err.splitlines() if "upload it with" in line]
    assert told.endswith(f"python -m src.sync {folder}")
    assert "http://127.0.0.1:9" in told
    assert (folder / "model" / "weights.safetensors").exists()
    done = deliver(trained, folder)  # the server is back: here, the shared database
    assert done.ended
    run = only_run(client, "late")
    assert (run.info.run_id, run.info.status) == (done.run_id, "FINISHED")


@pytest.mark.usefixtures("no_retries")
def test_delivering_to_a_server_that_does_not_answer_is_one_line(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from src import sync as command

    folder = delivered_copy(trained, tmp_path / "run", "nowhere")
    (folder / "tracking.json").write_text(json.dumps({"uri": "http://127.0.0.1:9", "artifacts": ""}))
    assert command.main([str(folder)]) != 0
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("sync: ")
    assert "http://127.0.0.1:9" in err


def test_deliver_refuses_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from src import sync as command

    for arguments in ([str(tmp_path)], ["a", "b"]):
        assert command.main(arguments) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert err.startswith("sync: expected all, an outputs folder, or the directory of a tracked run")


def test_a_run_without_a_start_is_refused(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    with pytest.raises(UserError, match="expected an event log with a start event"):
        deliver(trained, tmp_path)
