"""Events are written and read in order, each once."""

import json
from pathlib import Path

import pytest

from src.common.errors import UserError
from src.tracking.event_log import NAME, EventLog, has_ended, read_lines, safe_join


def write_all_kinds(folder: Path) -> None:
    """Write an event log with a record of every kind."""
    event_log = EventLog(folder)
    data = {"name": "smallshake", "digest": "d", "source": "s", "profile": {"characters": 3}}
    event_log.start("char-rnn", "a run", {"hidden": 8, "clip": None}, {"stage": "train"}, data)
    event_log.metrics(25, {"train/loss": 0.1 + 0.2, "lr": 1e-300})
    event_log.artifact(folder / "samples" / "while training.txt", "samples")
    event_log.artifact(folder / "config.json")
    event_log.table("samples.json", [{"temperature": 0.7, "text": 'naïve "text"\n\x00 🎭'}])
    event_log.model(folder / "model")
    event_log.end("FINISHED", "max_epochs")


def test_every_record_kind_round_trips(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    records = [record for _, record in read_lines(tmp_path, 0)]
    kinds = ["start", "metrics", "artifact", "artifact", "table", "model", "end"]
    assert [record["kind"] for record in records] == kinds
    start, metrics, artifact, plain, table, model, end = records
    assert start["params"] == {"hidden": 8, "clip": None}
    assert (start["experiment"], start["name"], start["tags"]) == ("char-rnn", "a run", {"stage": "train"})
    assert start["data"]["profile"] == {"characters": 3}
    assert metrics["step"] == 25
    assert metrics["values"] == {"train/loss": 0.1 + 0.2, "lr": 1e-300}  # exact
    assert (artifact["path"], artifact["folder"]) == ("samples/while training.txt", "samples")
    assert (plain["path"], plain["folder"]) == ("config.json", "")
    assert table["rows"] == [{"temperature": 0.7, "text": 'naïve "text"\n\x00 🎭'}]
    assert (model["path"], end["status"], end["reason"]) == ("model", "FINISHED", "max_epochs")
    assert start["time"] <= metrics["time"] <= end["time"]


def test_records_are_flushed(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path)
    for step in range(1, 4):
        event_log.metrics(step, {"lr": 0.5})
        assert sum(1 for _ in read_lines(tmp_path, 0)) == step
    event_log.end("KILLED")


def test_reading_resumes_after_any_record(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    entries = list(read_lines(tmp_path, 0))
    for k, (offset, _) in enumerate(entries):
        assert list(read_lines(tmp_path, offset)) == entries[k + 1 :]
    assert entries[-1][0] == (tmp_path / NAME).stat().st_size


def test_offsets_count_bytes_not_characters(tmp_path: Path) -> None:
    """An event log of another program can have multibyte characters."""
    table = {"kind": "table", "name": "ϕθ🎭", "rows": []}
    lines = [json.dumps(table, ensure_ascii=False), '{"kind": "closing"}']
    (tmp_path / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (offset, first), (_, second) = read_lines(tmp_path, 0)
    assert first["name"] == "ϕθ🎭"
    assert [record for _, record in read_lines(tmp_path, offset)] == [second]


def test_incomplete_last_line_is_not_read(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    content = (tmp_path / NAME).read_bytes()
    ends = [offset for offset, _ in read_lines(tmp_path, 0)]
    last = ends[-2]
    for cut in range(last, len(content)):
        (tmp_path / NAME).write_bytes(content[:cut])
        entries = list(read_lines(tmp_path, 0))
        assert [offset for offset, _ in entries] == ends[:-1]
        assert list(read_lines(tmp_path, last)) == []
    (tmp_path / NAME).write_bytes(content)
    assert [record["kind"] for _, record in read_lines(tmp_path, last)] == ["end"]


def test_reopened_event_log_is_continued(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path)
    event_log.metrics(1, {"lr": 1.0})
    event_log.file.close()
    reopened = EventLog(tmp_path)
    reopened.metrics(2, {"lr": 2.0})
    reopened.end("FINISHED")
    assert [record.get("step") for _, record in read_lines(tmp_path, 0)] == [1, 2, None]


def test_unwritable_path_is_reported(tmp_path: Path) -> None:
    missing = tmp_path / "not there"
    with pytest.raises(UserError, match=r"expected a writable path, got .*not there"):
        EventLog(missing)


def test_reopening_removes_incomplete_line(tmp_path: Path) -> None:
    write_all_kinds(tmp_path)
    content = (tmp_path / NAME).read_bytes()
    ends = [0, *(offset for offset, _ in read_lines(tmp_path, 0))]
    for cut in range(len(content)):
        (tmp_path / NAME).write_bytes(content[:cut])
        event_log = EventLog(tmp_path)
        kept = max(end for end in ends if end <= cut)
        assert (tmp_path / NAME).read_bytes() == content[:kept]
        event_log.file.close()
    event_log = EventLog(tmp_path)
    event_log.resume()
    event_log.end("FINISHED")
    assert [record["kind"] for _, record in read_lines(tmp_path, 0)][-2:] == ["resumed", "end"]
    assert has_ended(tmp_path)


def test_reopening_removes_long_incomplete_line(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path)
    event_log.table("long", [{"text": "x" * 200_000}])
    event_log.file.close()
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content + content[:-1])
    assert not has_ended(tmp_path)
    EventLog(tmp_path).end("FINISHED", "\x00" * 100_000)
    assert [record["kind"] for _, record in read_lines(tmp_path, 0)] == ["table", "end"]
    assert has_ended(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "inside/../../secret", "link/secret"])
def test_path_outside_directory_is_rejected(name: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("not of this run")
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="which is outside of it"):
        safe_join(tmp_path / "run", name)
    assert safe_join(tmp_path / "run", "samples/a.txt") == (tmp_path / "run" / "samples" / "a.txt").resolve()
