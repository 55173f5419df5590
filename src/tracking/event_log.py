"""The event log of a run: everything that it logs, in a file of its directory.

Training appends a line of JSON for each event (a few microseconds) and never waits for MLflow. A separate
process reads the log from where it last stopped and uploads it, during training or afterwards. While a server
is unreachable, the log only grows.

`EventLog` has a method for each kind of event, `EVENTS` its fields. After an end event more events follow if
the run was resumed.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Union

from src.common.errors import UserError
from src.common.files import parse_json, record_schema, write_error

NAME = "events.jsonl"
KIND = re.compile(rb'\{"kind": "(\w+)"')  # how `append` begins a line
REASON = 1000  # characters of an end's reason that are kept

TEXTS = dict[str, str]
DATA = record_schema(name=str, digest=str, source=str, profile=dict[str, Any])
EVENTS: dict[str, dict[str, Any]] = {
    "start": {
        "experiment": str, "name": str, "params": dict[str, Any], "tags": TEXTS, "data": DATA | None,
        "time": int,
    },
    "metrics": {"step": int, "values": dict[str, float], "time": int},
    "artifact": {"path": str, "folder": str},
    "table": {"name": str, "rows": list[dict[str, Any]]},
    "model": {"path": str},
    "closing": {},
    "sweep": {"name": str, "keys": list[str], "tags": TEXTS, "ranked": list[str]},
    "end": {"status": Literal["FINISHED", "FAILED", "KILLED"], "reason": str, "time": int},
    "resumed": {"tags": TEXTS, "time": int},
}  # fmt: skip


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000


class EventLog:
    """Append to the event log of a run's directory; an incomplete last line is removed first."""

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
        """Append the first event. data: name, digest, source and profile of the corpus; None without one."""
        self.append(
            "start", experiment=experiment, name=name, params=params, tags=tags, data=data, time=now()
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append points of metric curves at an optimizer step."""
        self.append("metrics", step=step, values=values, time=now())

    def artifact(self, path: Path, folder: str = "") -> None:
        """Append a file of the run's directory, to be uploaded to `folder`; it replaces an earlier one."""
        self.append("artifact", path=str(path.relative_to(self.folder)), folder=folder)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Append the rows of a table; each table is logged once."""
        self.append("table", name=name, rows=rows)

    def model(self, path: Path) -> None:
        """Append the directory of the trained model."""
        self.append("model", path=str(path.relative_to(self.folder)))

    def closing(self) -> None:
        """Append that a sweep has no further jobs; the sync of an unreachable store then stops soon."""
        self.append("closing")

    def sweep(self, name: str, keys: list[str], tags: dict[str, str], ranked: list[str]) -> None:
        """Append the outcome of a sweep to the log of its parent run.

        Args:
            name: Name of the sweep.
            keys: The swept keys.
            tags: Of the parent. A value that is the name of a job's directory is uploaded as its run id.
            ranked: Names of the jobs' directories, the best first.
        """
        self.append("sweep", name=name, keys=keys, tags=tags, ranked=ranked)

    def end(self, status: str, reason: str = "") -> None:
        """Append the last event, unless the run is resumed. status: FINISHED, FAILED or KILLED."""
        self.append("end", status=status, reason=reason[:REASON], time=now())
        self.file.close()

    def resume(self, tags: dict[str, str] | None = None) -> None:
        """Append that the run continues, also after an end. tags: of the run from now on."""
        self.append("resumed", tags=tags or {}, time=now())

    def sync(self) -> int:
        """Wait until the log is on the disk; return its size in bytes."""
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


@cache
def event_schema() -> Any:
    """Build the schema of a line of the log."""
    from pydantic import Field  # takes 50 ms to import, which no training waits for

    kinds = [record_schema(kind=Literal[kind], **fields) for kind, fields in EVENTS.items()]
    return Annotated[Union[tuple(kinds)], Field(discriminator="kind")]  # noqa: UP007


def safe_join(folder: Path, name: str) -> Path:
    """Return the path of an event's file. Raises UserError for one outside the run's directory."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"expected an event log of files in {folder}, got {name}, which is outside of it")
    return path


def read_lines(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the complete events from byte `offset` on, each with the offset of the next.

    A last line that is still being written is not read.

    Raises:
        UserError: A line is no event.
    """
    with (folder / NAME).open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = parse_json(line, event_schema())
            except ValueError as error:
                raise UserError(
                    f"expected a whole {NAME}, got a damaged one in {folder} (at byte {offset}: {error})"
                ) from error
            offset += len(line)
            yield offset, record


def complete_length(file: BinaryIO) -> int:
    """Return how many bytes of the file are complete lines."""
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
    """Return the kind of the last complete event, read from the log's end; "" where there is none."""
    with (folder / NAME).open("rb") as file:
        whole = complete_length(file)
        if whole == 0:
            return ""
        file.seek(max(0, whole - 16 * REASON))  # longer than any end event
        line = file.read(whole - file.tell()).splitlines()[-1]
    kind = KIND.match(line)
    return kind[1].decode() if kind else "other"  # the rest of a longer event


def has_ended(folder: Path) -> bool:
    """Return whether the last event is an end event."""
    return last_kind(folder) == "end"
