"""Locks between processes (filelock): each ends with the process that holds it, however that process ends."""

import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from src.common.errors import UserError
from src.common.files import load_json, record_schema, write_error

RUN_LOCK = "run.lock"  # held by the process that writes the event log
OWNER = record_schema(host=str, pid=int)  # content of the note of a held lock
TIMEOUT = 1.0  # seconds: `is_locked` in another process holds the lock for a moment


class Lock:
    """A directory locked by this process until `release`, or until the process ends.

    Args:
        lock: The acquired `filelock.FileLock`.
        note: File that names the owner; `release` removes it.
    """

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
        folder: The directory to lock. The lock file stays in it; a note with pid and host exists only while
            the lock is held.
        name: Name of the lock file; the default is the lock of the process that writes the event log.
        timeout: Seconds to wait for another owner; the default is TIMEOUT.

    Returns:
        The held lock.

    Raises:
        UserError: Another process holds the lock, or the directory is not writable.
    """  # noqa: DOC501 (`write_error` returns a UserError)
    path, note = folder / name, folder / f"{name}.owner"
    lock = FileLock(path, thread_local=False)  # a thread may release a lock that another one acquired
    try:
        with suppress_filelock_log():
            lock.acquire(timeout, poll_interval=0.02)
        note.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    except Timeout as error:
        owner = read_owner(note) or {"host": "?", "pid": "?"}
        user = f"process {owner['pid']} on {owner['host']}"
        raise UserError(
            f"expected a directory that no other process uses, got {folder}, used by {user}"
        ) from error
    except OSError as error:
        lock.release()
        raise write_error(path, error) from error
    return Lock(lock, note)


def is_locked(folder: Path, name: str = RUN_LOCK) -> bool:
    """Return whether a running process, including this one, holds a directory's lock.

    Args:
        folder: The directory, which need not exist.
        name: Name of the lock file; the default is the lock of the process that writes the event log.

    Returns:
        True while the lock is held. Where the lock file cannot be opened (a directory of another user), the
        note of the owner decides.
    """
    path = folder / name
    if not path.exists():
        return False
    try:
        with suppress_filelock_log(), FileLock(path).acquire(0):
            return False
    except Timeout:
        return True
    except OSError:  # another user's directory: use the note
        owner = read_owner(folder / f"{name}.owner")
        return owner is not None and owner_alive(owner)


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait until no other process is in this context with the same file, by a lock file in its folder.

    In a read-only folder, where nothing can be changed, there is no lock and no wait.

    Args:
        file: The file that the processes share; it need not exist.

    Yields:
        Nothing; the lock is released when the context ends.
    """
    with ExitStack() as stack:
        with suppress(OSError), suppress_filelock_log():  # nothing can be changed in a read-only folder
            stack.enter_context(FileLock(file.with_name(f"{file.name}.lock")))
        yield


@contextmanager
def suppress_filelock_log() -> Iterator[None]:
    """Hide filelock's warning on a file system without flock, where an existence lock is used instead.

    Yields:
        Nothing; warnings are shown again when the context ends.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flock not supported", category=UserWarning)
        yield


def read_owner(note: Path) -> dict[str, Any] | None:
    """Read who holds a lock.

    Args:
        note: File that names the owner, next to the lock file.

    Returns:
        The note with the keys `host` and `pid` (OWNER); None while it is missing or being written.
    """
    try:
        return dict(load_json(note, OWNER))
    except (OSError, ValueError):
        return None


def owner_alive(owner: dict[str, Any]) -> bool:
    """Return whether the owner of a lock may still run.

    Args:
        owner: Content of the note: `host` and `pid`.

    Returns:
        False only if the owner ran on this host and its process no longer exists.
    """
    if owner["host"] != socket.gethostname():
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True
