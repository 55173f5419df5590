"""One process at a time writes to a run's directory."""

import fcntl
import os
from pathlib import Path

from src.errors import InputError

NAME = ".held"


class Held:
    """A lock on a directory; the system lets go of it when the process ends, however it does."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Let go; told twice it does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def hold(folder: Path) -> Held:
    """Take a directory for this process. Raises InputError when another one has it."""
    descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            f"run: expected one that no other process works on, got {folder.name}: wait for it or end it"
        ) from error
    return Held(descriptor)


def held(folder: Path) -> bool:
    """Whether a process has the directory."""
    try:
        hold(folder).release()
    except InputError:
        return True
    return False
