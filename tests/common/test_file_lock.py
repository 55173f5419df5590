"""Only one process can lock a directory, as long as it lives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from src.common.errors import UserError
from src.common.file_lock import RUN_LOCK, acquire, is_locked

NO_PROCESS = 2**22 + 1  # above Linux's largest process id
USED = f"expected a directory that no other .*, used by process {os.getpid()} on "
# A process that locks a directory.
HOLDER = """
import sys
from pathlib import Path
from src.common.file_lock import acquire
lock = acquire(Path(sys.argv[1]))
print("holding", flush=True)
sys.stdin.read()
"""


def test_directory_is_locked_until_release(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    first_lock = acquire(tmp_path)
    for _ in range(2):  # a failed acquire does not release the lock
        assert is_locked(tmp_path)
        with pytest.raises(UserError, match=USED):
            acquire(tmp_path, timeout=0)
    first_lock.release()
    first_lock.release()
    assert not is_locked(tmp_path)
    acquire(tmp_path, timeout=0).release()


def test_locks_with_different_names_are_independent(tmp_path: Path) -> None:
    first_lock = acquire(tmp_path)
    second_lock = acquire(tmp_path, "sync.lock", timeout=0)
    first_lock.release()
    assert (is_locked(tmp_path), is_locked(tmp_path, "sync.lock")) == (False, True)
    second_lock.release()


def test_lock_of_killed_process_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        assert is_locked(tmp_path)
        with pytest.raises(UserError, match=f"process {process.pid} on "):
            acquire(tmp_path, timeout=0)
        process.kill()
        process.wait(60)
    assert not is_locked(tmp_path)
    acquire(tmp_path, timeout=0).release()


def test_lock_without_flock_uses_owner_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some cluster file systems have no flock; a file with pid and host replaces it."""

    def fail(file: object, how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", fail)
    lock = acquire(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(UserError, match=USED):
        acquire(tmp_path, timeout=0)
    lock.release()
    assert not is_locked(tmp_path)
    (tmp_path / RUN_LOCK).write_text("1\nelsewhere\n")
    assert is_locked(tmp_path), "a process on another host can still run"
    (tmp_path / RUN_LOCK).write_text(f"{NO_PROCESS}\n{socket.gethostname()}\n")
    assert not is_locked(tmp_path)


def test_lock_without_write_permission_uses_owner_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire(tmp_path).release()

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.BaseFileLock.acquire", fail)
    assert not is_locked(tmp_path), "released: no owner file"
    owner_file = tmp_path / f"{RUN_LOCK}.owner"
    for owner, locked in (
        ({"host": "elsewhere", "pid": 1}, True),
        ({"host": socket.gethostname(), "pid": os.getpid()}, True),
        ({"host": socket.gethostname(), "pid": NO_PROCESS}, False),
    ):
        owner_file.write_text(json.dumps(owner))
        assert is_locked(tmp_path) == locked, owner


def test_unwritable_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(UserError, match=r"expected a writable path, got .*a file"):
        acquire(tmp_path / "a file")
