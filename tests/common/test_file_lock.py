"""src/common/file_lock.py: one process at a time in a directory, for as long as it lives."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from src.common.errors import InputError
from src.common.file_lock import ALIVE, held, hold

HOLDER = """
import sys
from pathlib import Path
from src.common.file_lock import hold
mine = hold(Path(sys.argv[1]))
print("holding", flush=True)
sys.stdin.read()
"""


def test_a_directory_is_held_until_it_is_released(tmp_path: Path) -> None:
    assert not held(tmp_path)
    mine = hold(tmp_path)
    assert held(tmp_path)
    with pytest.raises(
        InputError, match=f"expected a directory in which no other .*: process {os.getpid()} "
    ):
        hold(tmp_path, patience=0)
    assert held(tmp_path), "whoever was refused has not taken it away"
    mine.release()
    mine.release()
    assert not held(tmp_path)
    hold(tmp_path, patience=0).release()


def test_two_locks_of_a_directory_do_not_meet(tmp_path: Path) -> None:
    mine = hold(tmp_path)
    other = hold(tmp_path, "deliver.lock", patience=0)
    mine.release()
    assert (held(tmp_path), held(tmp_path, "deliver.lock")) == (False, True)
    other.release()


def test_who_was_killed_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        assert held(tmp_path)
        with pytest.raises(InputError, match=f"process {process.pid} on "):
            hold(tmp_path, patience=0)
        process.kill()
        process.wait(60)
    assert not held(tmp_path)
    hold(tmp_path, patience=0).release()


def test_where_there_are_no_locks_the_note_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems of clusters have none."""

    def refuse(file: object, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    mine = hold(tmp_path)
    assert held(tmp_path)
    (tmp_path / ALIVE).write_text('{"host": "elsewhere", "pid": 1}')
    assert held(tmp_path), "of another machine nobody knows"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    (tmp_path / ALIVE).write_text(f'{{"host": "{socket.gethostname()}", "pid": {gone.pid}}}')
    assert not held(tmp_path)
    mine.release()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a place to write to, got .*not there"):
        hold(tmp_path / "not there")
