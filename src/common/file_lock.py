"""Inter-process locks (filelock): each ends with the process that holds it, however that ends."""

import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.common.atomic_io import write_error
from src.common.errors import UserError

RUN_LOCK = "run.lock"  # held by the process that writes the event log
TIMEOUT = 1.0  # seconds: `is_locked` in another process holds the lock for a moment


class Lock:
    """A directory locked by this process until `release`, or until the process ends."""

    def __init__(self, lock: Any, note: Path) -> None:
        self.lock, self.note = lock, note

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        if self.lock.is_locked:
            with suppress(OSError):  # a stale note is harmless: it is read only while the lock is held
                self.note.unlink()
            self.lock.release()


def acquire(folder: Path, name: str = RUN_LOCK, timeout: float = TIMEOUT) -> Lock:
    """Lock a directory.

    Args:
        folder: The directory. The lock file stays there; a note with pid and host goes with the lock.
        name: Name of the lock file.
        timeout: Seconds to wait for another owner.

    Returns:
        The held lock.

    Raises:
        UserError: Another process holds it, or the directory is not writable.
    """
    path = folder / name
    lock = new_lock(path)
    note = owner_note(path)
    try:
        with suppress_filelock_log():
            lock.acquire(timeout, poll_interval=0.02)
        note.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    except Timeout as error:
        owner = read_owner(path)
        raise UserError(
            f"expected a directory in which no other process is at work, got {folder}: process "
            f"{owner.get('pid', '?')} on {owner.get('host', '?')} is"
        ) from error
    except OSError as error:
        lock.release()
        raise write_error(path, error) from error
    return Lock(lock, note)


def is_locked(folder: Path, name: str = RUN_LOCK) -> bool:
    """Whether a living process, this one included, holds the directory's lock."""
    path = folder / name
    if not path.exists():
        return False
    try:
        with suppress_filelock_log(), new_lock(path).acquire(0):
            return False
    except Timeout:
        return True
    except OSError:  # another user's directory: only the note can tell
        return owner_alive(read_owner(path))


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait until no other process is in this context with the same file (a lock file beside it)."""
    with ExitStack() as stack:
        with (
            suppress(OSError),
            suppress_filelock_log(),
        ):  # a read-only folder needs no lock: nothing there can be changed
            stack.enter_context(new_lock(file.with_name(f"{file.name}.lock")))
        yield


def new_lock(path: Path) -> Any:
    """A lock that is not held yet and may be released by another thread than the acquiring one."""
    return FileLock(path, thread_local=False)


@contextmanager
def suppress_filelock_log() -> Iterator[None]:
    """Hide filelock's warning where a file system has no flock and an existence lock stands in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flock not supported", category=UserWarning)
        yield


def owner_note(path: Path) -> Path:
    """The file with pid and host of a lock's owner."""
    return path.with_name(f"{path.name}.owner")


def read_owner(path: Path) -> dict[str, Any]:
    """Pid and host of the lock's owner; {} while the note is missing or being written."""
    try:
        return dict(json.loads(owner_note(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def owner_alive(owner: dict[str, Any]) -> bool:
    """Whether the process of a note may still run; on another host that is unknown, so it may."""
    if owner.get("host") != socket.gethostname():
        return bool(owner)
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
