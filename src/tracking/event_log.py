"""What a run reports, in a file of its own directory: journal first, deliver behind.

Training appends a line of JSON for everything there is to tell (a few microseconds each) and never waits
for a tracker. A separate process reads the journal from where it last stopped and delivers it: beside
training with the processor time that training leaves over, or afterwards. An unreachable server only
makes the journal longer.

Records: start, metrics, artifact, table, model, closing, sweep, end, resumed; `EventLog`'s methods are their
definition. Behind an end there may be more: the run was resumed.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from src.common.errors import UserError
from src.common.files import parse_json, write_error

NAME = "events.jsonl"
KIND = re.compile(rb'\{"kind": "(\w+)"')  # how `append` begins a line
REASON = 1000  # characters of an end's reason that are kept


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


class EventLog:
    """Appends to the journal of a run's directory; a last line that was torn off is cut away first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            # no buffer: what could not be written must not be tried again when the file is closed
            self.file = (folder / NAME).open("a+b", buffering=0)
            whole = complete_length(self.file)
            if whole < self.file.seek(0, os.SEEK_END):
                self.file.truncate(whole)
        except OSError as error:
            raise write_error(folder, error) from error

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
        """Points of metric curves at an optimizer step."""
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

    def closing(self) -> None:
        """Of a sweep no more jobs will come. A store that does not answer from now on is not waited for."""
        self.append("closing")

    def sweep(self, name: str, keys: list[str], tags: dict[str, str], ranked: list[str]) -> None:
        """What a sweep came to, in the journal of its parent. tags: of the parent; ranked: the names of its
        jobs' directories, the best first. A tag that holds such a name is delivered as the run's id."""
        self.append("sweep", name=name, keys=keys, tags=tags, ranked=ranked)

    def end(self, status: str, reason: str = "") -> None:
        """The last record, unless the run is resumed. status: FINISHED, FAILED or KILLED."""
        self.append("end", status=status, reason=reason[:REASON], time=now())
        self.file.close()

    def resume(self, tags: dict[str, str] | None = None) -> None:
        """The run goes on, whatever end it told of before. tags: what marks it from now on."""
        self.append("resumed", tags=tags or {}, time=now())

    def sync(self) -> int:
        """Wait until all of it is on the disk; returns its size in bytes."""
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size

    def append(self, kind: str, **fields: Any) -> None:
        line = memoryview((json.dumps({"kind": kind, **fields}) + "\n").encode())
        before = self.file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self.file.write(line) :]
        except OSError as error:
            with suppress(OSError):  # half a line that cannot be taken back is cut away at the next opening
                self.file.truncate(before)
            raise write_error(self.folder, error) from error


def safe_join(folder: Path, name: str) -> Path:
    """The file of a record. Raises UserError for one that leads out of the run's directory."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"expected a journal of files in {folder}, got {name}, which lies outside of it")
    return path


def read_lines(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete records from byte `offset` on, each with the offset behind it.

    A last line that is still being written is left for the next time. Raises UserError for a line that is
    no record.
    """
    from src.tracking.formats import Event  # slow to import

    schema: Any = Event
    with (folder / NAME).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = dict(parse_json(line, schema))
            except ValueError as error:
                raise UserError(
                    f"expected a whole {NAME}, got a damaged one in {folder} (at byte {offset}: {error})"
                ) from error
            offset += len(line)
            yield offset, record


def complete_length(file: BinaryIO) -> int:
    """How many bytes of the file are complete lines."""
    position, block = file.seek(0, os.SEEK_END), 1 << 16
    while position > 0:
        start = max(0, position - block)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def last_kind(folder: Path) -> str:
    """The kind of the last complete record, read from the journal's end; "" where there is none."""
    with (folder / NAME).open("rb") as file:
        whole = complete_length(file)
        if whole == 0:
            return ""
        file.seek(max(0, whole - 16 * REASON))  # an end, of which alone is asked, is shorter
        line = file.read(whole - file.tell()).splitlines()[-1]
    kind = KIND.match(line)
    return kind[1].decode() if kind else "other"  # of a longer record this is the end


def has_ended(folder: Path) -> bool:
    """Whether the last thing told is an end."""
    return last_kind(folder) == "end"
