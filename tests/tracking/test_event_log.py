"""Events are written and read in order, each once."""

from pathlib import Path

import pytest

from src.common.errors import UserError
from src.tracking.event_log import NAME, EventLog, has_ended, read_lines, safe_join

DATA = {"name": "smallshake", "digest": "d", "source": "s", "profile": {"characters": 3}}
ROW = {"temperature": 0.7, "text": 'naïve "text"\n\x00 🎭'}


def write_all_kinds(folder: Path) -> None:
    event_log = EventLog(folder)
    event_log.start("char-rnn", "a run", {"hidden": 8, "clip": None}, {"stage": "train"}, DATA)
    event_log.metrics(25, {"train/loss": 0.1 + 0.2, "lr": 1e-300})
    event_log.artifact(folder / "samples" / "while training.txt", "samples")
    event_log.artifact(folder / "config.json")
    event_log.table("samples.json", [ROW])
    event_log.model(folder / "model")
    event_log.end("FINISHED", "max_epochs")


def kinds(folder: Path) -> list[str]:
    return [record["kind"] for _, record in read_lines(folder, 0)]


def test_every_record_kind_round_trips(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    start, metrics, *files, end = (record for _, record in read_lines(tmp_path, 0))
    assert 0 < start.pop("time") <= metrics.pop("time") <= end.pop("time")
    assert start == {
        "kind": "start", "experiment": "char-rnn", "name": "a run", "params": {"hidden": 8, "clip": None},
        "tags": {"stage": "train"}, "data": DATA,
    }  # fmt: skip
    assert metrics == {"kind": "metrics", "step": 25, "values": {"train/loss": 0.1 + 0.2, "lr": 1e-300}}
    assert files == [
        {"kind": "artifact", "path": "samples/while training.txt", "folder": "samples"},
        {"kind": "artifact", "path": "config.json", "folder": ""},
        {"kind": "table", "name": "samples.json", "rows": [ROW]},
        {"kind": "model", "path": "model"},
    ]
    assert end == {"kind": "end", "status": "FINISHED", "reason": "max_epochs"}


def test_records_are_flushed_and_continued_after_reopening(tmp_path: Path) -> None:
    for step in range(1, 4):
        event_log = EventLog(tmp_path)
        event_log.metrics(step, {"lr": 0.5})
        assert [record["step"] for _, record in read_lines(tmp_path, 0)] == list(range(1, step + 1))
        event_log.file.close()


def test_reading_resumes_after_any_record(tmp_path: Path) -> None:
    """Offsets count bytes: an event log of another program can have multibyte characters."""
    write_all_kinds(tmp_path)
    with (tmp_path / NAME).open("a", encoding="utf-8") as file:
        file.write('{"kind": "table", "name": "ϕθ🎭", "rows": []}\n{"kind": "closing"}\n')
    entries = list(read_lines(tmp_path, 0))
    assert [record.get("name") for _, record in entries[-2:]] == ["ϕθ🎭", None]
    for k, (offset, _) in enumerate(entries):
        assert list(read_lines(tmp_path, offset)) == entries[k + 1 :]
    assert entries[-1][0] == (tmp_path / NAME).stat().st_size


def test_incomplete_last_line_is_not_read_and_removed_by_reopening(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    content = (tmp_path / NAME).read_bytes()
    ends = [0, *(offset for offset, _ in read_lines(tmp_path, 0))]
    for cut in range(len(content)):
        (tmp_path / NAME).write_bytes(content[:cut])
        complete = max(end for end in ends if end <= cut)
        assert list(read_lines(tmp_path, complete)) == []
        EventLog(tmp_path).file.close()
        assert (tmp_path / NAME).read_bytes() == content[:complete]
    event_log = EventLog(tmp_path)
    event_log.resume()
    event_log.end("FINISHED")
    assert kinds(tmp_path)[-2:] == ["resumed", "end"]
    assert has_ended(tmp_path)


def test_reopening_removes_long_incomplete_line(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path)
    event_log.table("long", [{"text": "x" * 200_000}])
    event_log.file.close()
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content + content[:-1])
    assert not has_ended(tmp_path)
    EventLog(tmp_path).end("FINISHED", "\x00" * 100_000)
    assert kinds(tmp_path) == ["table", "end"]
    assert has_ended(tmp_path)


def test_path_outside_directory_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a writable path, got .*not there"):
        EventLog(tmp_path / "not there")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    for name in ("../secret", "/etc/hostname", "inside/../../secret", "link/secret"):
        with pytest.raises(UserError, match="which is outside of it"):
            safe_join(tmp_path / "run", name)
    assert safe_join(tmp_path / "run", "samples/a.txt") == (tmp_path / "run" / "samples" / "a.txt").resolve()
