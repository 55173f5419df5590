"""Who is at work in a directory: a lock that its process holds for as long as it lives, however it ends."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.common.atomic_io import cannot_write
from src.common.errors import InputError

ALIVE = "alive.lock"  # held by the process that writes the journal
PATIENCE = 1.0  # seconds: whoever asks whether a directory is held holds it for a moment


class Held:
    """A directory that this process holds, until it is released or the process is gone."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def release(self) -> None:
        """Let others have it; the second time does nothing."""
        self.file.close()


def hold(folder: Path, name: str = ALIVE, patience: float = PATIENCE) -> Held:
    """Hold a directory. name: of the lock's file in it; patience: seconds to wait for who has it.

    Raises InputError when another process has it, or when it cannot be written to.
    """
    path, until = folder / name, time.monotonic() + patience
    try:
        file = path.open("a+b", buffering=0)
        while not lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > until:
                file.seek(0)
                owner = owner_of(file.read())
                file.close()
                raise InputError(
                    f"expected a directory in which no other process is at work, got {folder}: process "
                    f"{owner.get('pid', '?')} on {owner.get('host', '?')} is"
                )
            time.sleep(0.02)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode() + b"\n")
    except OSError as error:
        raise cannot_write(path, error) from error
    return Held(file)


def held(folder: Path, name: str = ALIVE) -> bool:
    """Whether a living process holds the directory, this one included."""
    try:
        with (folder / name).open("rb") as file:
            return not lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB) or lives(owner_of(file.read()), file)
    except FileNotFoundError:
        return False


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Wait for the other processes that do this with the same file; a lock beside it."""
    try:
        opened = file.with_name(file.name + ".lock").open("ab")
    except OSError:  # a folder that cannot be written to: what is done there changes nothing
        yield
        return
    with opened:
        lock(opened, fcntl.LOCK_EX)
        yield


def lock(file: Any, how: int) -> bool:
    """Lock an open file; False when another has it. A file system without locks lets everyone have it."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def lives(owner: dict[str, Any], file: Any) -> bool:
    """Where the file system has no locks: whether the process that noted itself may still be there."""
    try:
        fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        if owner.get("host") != socket.gethostname():
            return bool(owner)  # nobody here can know
        try:
            os.kill(owner["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's
            return True
        return True
    return False


def owner_of(note: bytes) -> dict[str, Any]:
    """Who wrote the note; {} while it is being written."""
    try:
        return dict(json.loads(note))
    except ValueError:
        return {}
