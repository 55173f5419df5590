"""A case of the table of bad input: what is typed, what the line must say, what may be new afterwards."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VERSE = "the sun is up and so am i, "
TINY = (
    "data=file", "data.path=text.txt", "prompt=the ", "seq_len=10", "hidden=8", "max_epochs=0.05",
    "figures=false", "eval_every=10", "length=20", "workers=1", "tracking=none",
)  # fmt: skip
PATHS = ("output_dir=outputs", "data_dir=data")
PORT = 58899  # nobody listens there
ROOT = os.geteuid() == 0

Prepare = Callable[[Path], object]
CORPUS = ("data", "data/*", "data/*/*")  # a corpus that is whole, for the next time
EVERYTHING = (*CORPUS, "outputs", "outputs/**/*")


def nothing(root: Path) -> None:
    """Nothing is there but what every case has."""


@dataclass(frozen=True)
class Case:
    """command and arguments as typed. says: what the line must hold beside `expected`. prepare: makes the
    files of the case. run: whether a finished run is there (outputs/runs/first and its data). makes: glob
    patterns of what may be new afterwards. status: the exit status."""

    command: str
    arguments: tuple[str, ...]
    expected: tuple[str, ...]
    prepare: Prepare = nothing
    has_run: bool = False
    creates: tuple[str, ...] = ()
    status: int = 2
    name: str = ""

    @property
    def id(self) -> str:
        return self.name or f"{self.command} {' '.join(a for a in self.arguments if a not in PATHS)}"
