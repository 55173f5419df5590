"""A case of invalid input: the command line, the expected error, and the files that it may create."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VERSE = "the sun is up and so am i, "
TINY = (
    "data=file", "data.path=text.txt", "prompt=the ", "seq_len=10", "hidden=8", "max_epochs=0.05",
    "figures=false", "diagnostics=false", "eval_every=10", "length=20", "workers=1", "tracking=none",
)  # fmt: skip
PATHS = ("output_dir=outputs", "data_dir=data")
UNTRACKED = ("tracking=none", *PATHS)
PORT = 58899  # unused port
ROOT = os.geteuid() == 0

Prepare = Callable[[Path], object]
CORPUS = ("data", "data/*", "data/*/*")  # a complete prepared corpus
EVERYTHING = (*CORPUS, "outputs", "outputs/**/*")


def nothing(root: Path) -> None:
    """Prepare no additional files."""


@dataclass(frozen=True)
class Case:
    """A case of invalid input.

    Attributes:
        expected: Texts in the error line.
        prepare: Creates the files of the case.
        has_run: Whether a finished run exists (outputs/runs/first and its data).
        creates: Glob patterns of files that the command may create.
    """

    command: str
    arguments: tuple[str, ...]
    expected: tuple[str, ...]
    prepare: Prepare = nothing
    has_run: bool = False
    creates: tuple[str, ...] = ()
    name: str = ""

    @property
    def id(self) -> str:
        return self.name or f"{self.command} {' '.join(a for a in self.arguments if a not in PATHS)}"
