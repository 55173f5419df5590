"""What a run reports, in a file of its own directory: journal first, deliver behind.

Training appends a line of JSON for everything there is to tell (a few microseconds each) and never waits
for a tracker. A separate process reads the journal from where it last stopped and delivers it: beside
training with the processor time that training leaves over, or afterwards. An unreachable server only
makes the journal longer.

Records: start, metrics, artifact, table, model, end; `Journal`'s methods are their definition.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.files import cannot_write

NAME = "journal.jsonl"


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


class Journal:
    """Appends to the journal of a run's directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.file = (folder / NAME).open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error

    def start(
        self,
        experiment: str,
        name: str,
        params: dict[str, Any],
        tags: dict[str, str],
        data: dict[str, Any] | None,
    ) -> None:
        """The first record. data: name, digest, source, profile of the corpus, where there is one."""
        self.append(
            "start", experiment=experiment, name=name, params=params, tags=tags, data=data, time=now()
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Points of metric curves at an optimiser step."""
        self.append("metrics", step=step, values=values, time=now())

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file below the run's directory, to be kept under `folder`; told again, it is replaced."""
        self.append("artifact", path=str(path.relative_to(self.folder)), folder=folder)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Rows of one table, told once."""
        self.append("table", name=name, rows=rows)

    def model(self, path: Path) -> None:
        """The directory of the trained model."""
        self.append("model", path=str(path.relative_to(self.folder)))

    def end(self, status: str, reason: str = "") -> None:
        """The last record. status: FINISHED, FAILED or KILLED."""
        self.append("end", status=status, reason=reason, time=now())
        self.file.close()

    def append(self, kind: str, **fields: Any) -> None:
        try:
            self.file.write(json.dumps({"kind": kind, **fields}) + "\n")
            self.file.flush()
        except OSError as error:
            raise cannot_write(self.folder, error) from error


def below(folder: Path, name: str) -> Path:
    """The file of a record. Raises InputError for one that leads out of the run's directory."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"expected a journal of files in {folder}, got {name}, which lies outside of it")
    return path


def read(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete records from byte `offset` on, each with the offset behind it.

    A last line that is still being written is left for the next time.
    """
    with (folder / NAME).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield offset, json.loads(line)
