"""src/tracking/event_log.py: what is told is read again, in order, each record once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.common.errors import UserError
from src.tracking.event_log import NAME, EventLog, has_ended, read_lines, safe_join
from tests.commands import TIME_LIMIT, unmeasured


def told(folder: Path) -> None:
    """A journal with a record of every kind."""
    journal = EventLog(folder)
    data = {"name": "smallshake", "digest": "d", "source": "s", "profile": {"characters": 3}}
    journal.start("char-rnn", "a run", {"hidden": 8, "clip": None}, {"stage": "train"}, data)
    journal.metrics(25, {"train/loss": 0.1 + 0.2, "lr": 1e-300})
    journal.artifact(folder / "samples" / "while training.txt", "samples")
    journal.artifact(folder / "config.json")
    journal.table("samples.json", [{"temperature": 0.7, "text": 'naïve "text"\n\x00 🎭'}])
    journal.model(folder / "model")
    journal.end("FINISHED", "max_epochs")


def test_every_kind_of_record_comes_back_as_it_was_told(tmp_path: Path) -> None:
    told(tmp_path)
    records = [record for _, record in read_lines(tmp_path, 0)]
    kinds = ["start", "metrics", "artifact", "artifact", "table", "model", "end"]
    assert [record["kind"] for record in records] == kinds
    start, metrics, artifact, plain, table, model, end = records
    assert start["params"] == {"hidden": 8, "clip": None}
    assert (start["experiment"], start["name"], start["tags"]) == ("char-rnn", "a run", {"stage": "train"})
    assert start["data"]["profile"] == {"characters": 3}
    assert metrics["step"] == 25
    assert metrics["values"] == {"train/loss": 0.1 + 0.2, "lr": 1e-300}  # to the last bit
    assert (artifact["path"], artifact["folder"]) == ("samples/while training.txt", "samples")
    assert (plain["path"], plain["folder"]) == ("config.json", "")
    assert table["rows"] == [{"temperature": 0.7, "text": 'naïve "text"\n\x00 🎭'}]
    assert (model["path"], end["status"], end["reason"]) == ("model", "FINISHED", "max_epochs")
    assert start["time"] <= metrics["time"] <= end["time"]


def test_a_record_is_on_disk_as_soon_as_it_is_told(tmp_path: Path) -> None:
    journal = EventLog(tmp_path)
    for step in range(1, 4):
        journal.metrics(step, {"lr": 0.5})
        assert sum(1 for _ in read_lines(tmp_path, 0)) == step
    journal.end("KILLED")


def test_reading_resumes_exactly_behind_any_record(tmp_path: Path) -> None:
    told(tmp_path)
    everything = list(read_lines(tmp_path, 0))
    for k, (offset, _) in enumerate(everything):
        assert list(read_lines(tmp_path, offset)) == everything[k + 1 :]
    assert everything[-1][0] == (tmp_path / NAME).stat().st_size


def test_offsets_count_bytes_not_characters(tmp_path: Path) -> None:
    """A journal written by another program may hold characters of several bytes."""
    table = {"kind": "table", "name": "ϕθ🎭", "rows": []}
    lines = [json.dumps(table, ensure_ascii=False), '{"kind": "closing"}']
    (tmp_path / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (offset, first), (_, second) = read_lines(tmp_path, 0)
    assert first["name"] == "ϕθ🎭"
    assert [record for _, record in read_lines(tmp_path, offset)] == [second]


def test_an_unfinished_last_line_is_left_for_later_at_every_byte(tmp_path: Path) -> None:
    told(tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    ends = [offset for offset, _ in read_lines(tmp_path, 0)]
    last = ends[-2]
    for cut in range(last, len(whole)):
        (tmp_path / NAME).write_bytes(whole[:cut])
        seen = list(read_lines(tmp_path, 0))
        assert [offset for offset, _ in seen] == ends[:-1]
        assert list(read_lines(tmp_path, last)) == []
    (tmp_path / NAME).write_bytes(whole)
    assert [record["kind"] for _, record in read_lines(tmp_path, last)] == ["end"]


def test_a_journal_opened_again_is_continued(tmp_path: Path) -> None:
    journal = EventLog(tmp_path)
    journal.metrics(1, {"lr": 1.0})
    journal.file.close()
    again = EventLog(tmp_path)
    again.metrics(2, {"lr": 2.0})
    again.end("FINISHED")
    assert [record.get("step") for _, record in read_lines(tmp_path, 0)] == [1, 2, None]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "not there"
    with pytest.raises(UserError, match=r"expected a writable path, got .*not there"):
        EventLog(missing)


def test_a_torn_line_is_cut_away_at_every_byte_when_the_journal_is_opened_again(tmp_path: Path) -> None:
    told(tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    ends = [0, *(offset for offset, _ in read_lines(tmp_path, 0))]
    for cut in range(len(whole)):
        (tmp_path / NAME).write_bytes(whole[:cut])
        journal = EventLog(tmp_path)
        kept = max(end for end in ends if end <= cut)
        assert (tmp_path / NAME).read_bytes() == whole[:kept]
        journal.file.close()
    journal = EventLog(tmp_path)
    journal.resume()
    journal.end("FINISHED")
    assert [record["kind"] for _, record in read_lines(tmp_path, 0)][-2:] == ["resumed", "end"]
    assert has_ended(tmp_path)


def test_a_line_longer_than_what_is_read_at_once_is_cut_away_too(tmp_path: Path) -> None:
    journal = EventLog(tmp_path)
    journal.table("long", [{"text": "x" * 200_000}])
    journal.file.close()
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + whole[:-1])
    assert not has_ended(tmp_path)
    EventLog(tmp_path).end("FINISHED", "\x00" * 100_000)
    assert [record["kind"] for _, record in read_lines(tmp_path, 0)] == ["table", "end"]
    assert has_ended(tmp_path)


FULL = """
import resource, sys
from pathlib import Path
from src.common.errors import UserError
from src.tracking.event_log import EventLog
event_log = EventLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    for step in range(1000):
        event_log.metrics(step, {"lr": 0.5})
except UserError as error:
    print(step, error)
"""


def test_a_full_disk_is_one_line_and_leaves_whole_records(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env=unmeasured(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    step, _, line = done.stdout.partition(" ")
    assert line == (
        f"expected a writable path, got {tmp_path} (File too large): change output_dir or data_dir\n"
    )
    records = [record for _, record in read_lines(tmp_path, 0)]
    assert [record["step"] for record in records] == list(range(int(step)))
    assert (tmp_path / NAME).read_bytes().endswith(b"}\n"), "not even half a line is left behind"


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "inside/../../secret", "link/secret"])
def test_a_record_that_leads_out_of_the_directory_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("not of this run")
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="which is outside of it"):
        safe_join(tmp_path / "run", name)
    assert safe_join(tmp_path / "run", "samples/a.txt") == (tmp_path / "run" / "samples" / "a.txt").resolve()
