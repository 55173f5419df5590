"""Run a command on a pseudo-terminal, and read its screen back with pyte, a terminal emulator."""

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyte

from tests.commands import Commands

LINES = 24


@dataclass
class Terminal:
    """What a terminal showed.

    Attributes:
        columns: Width of the terminal.
        rc: Exit status of the command.
        raw: Everything that the command wrote.
    """

    columns: int
    rc: int
    raw: str

    @property
    def rows(self) -> list[str]:
        """All rows at the end that are not empty, also those that have left the screen."""
        return next(self.screens("", 5000))

    @property
    def frames(self) -> Iterator[list[str]]:
        """The screens before each erasure of a row: the bar is whole, and not yet drawn again."""
        return self.screens("\x1b[2K", LINES)

    def screens(self, end: str, lines: int) -> Iterator[list[str]]:
        """Yield the rows of a screen before each occurrence of a text, and at the end."""
        screen = pyte.Screen(self.columns, lines)
        stream = pyte.Stream(screen)
        for piece in self.raw.split(end) if end else [self.raw]:
            stream.feed(piece)
            yield [row.rstrip() for row in screen.display if row.strip()]
            stream.feed(end)

    def starting(self, start: str) -> list[str]:
        return [row for row in self.rows if row.startswith(start)]


def run_in_terminal(
    command: Commands,
    module: str,
    *arguments: str,
    columns: int = 80,
    environment: dict[str, str] | None = None,
) -> Terminal:
    """Run `python -m MODULE ARGUMENTS` with standard output and standard error on a terminal of 24 lines."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    pieces: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # raised when the last process has closed the terminal
            while True:
                pieces.append(os.read(master, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    defaults = {"TERM": "xterm-256color", "LINES": "", "COLUMNS": ""} | (environment or {})
    rc = command(module, *arguments, terminal=os.ttyname(slave), environment=defaults).rc
    os.close(slave)
    reader.join()
    os.close(master)
    return Terminal(columns, rc, b"".join(pieces).decode())
