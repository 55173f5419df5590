"""The event log of a run: everything that it logs, in a file of its run directory.

Training appends a line of JSON for each event (a few microseconds) and never waits for MLflow. A separate
process reads the log from the point where it last stopped and uploads it, during training or afterwards.
While a server is unreachable, the log only grows.

`EventLog` has a method for each kind of event, `EVENTS` the fields of each. After an end event more events
follow if a file was added to the run, or if the run was resumed.
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
REASON = 1000  # maximum number of characters of an end event's reason

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
    "added": {"path": str, "folder": str},
    "resumed": {"tags": TEXTS, "time": int},
}  # fmt: skip
ENDED = ("end", "added")  # last kinds of the log of a run that has ended


def now() -> int:
    """Return the current time in the unit of MLflow.

    Returns:
        Milliseconds since 1970.
    """
    return time.time_ns() // 1_000_000


class EventLog:
    """Event log of a run, open for appending; an incomplete last line is removed first.

    Every method that appends raises a UserError if the disk does not accept the line; the log then ends with
    the previous event.

    Args:
        folder: Directory of the run or sweep.

    Raises:
        UserError: The log cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            # no buffer: closing the file must not repeat a write that failed
            self.file = (folder / NAME).open("a+b", buffering=0)
            whole = complete_length(self.file)
            if whole < self.file.seek(0, os.SEEK_END):
                self.file.truncate(whole)
        except OSError as error:
            raise write_error(folder, error) from error

    def start(
        self, experiment: str, name: str, params: dict[str, Any], tags: TEXTS, data: dict[str, Any] | None
    ) -> None:
        """Append the first event of a run.

        Args:
            experiment: Name of the experiment in MLflow.
            name: Name of the run.
            params: Flattened config, dotted key to value.
            tags: Tag name to text.
            data: Name, digest, source and profile of the corpus; None for a run without a corpus.
        """
        self.append(
            "start", experiment=experiment, name=name, params=params, tags=tags, data=data, time=now()
        )

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append points of metric curves.

        Args:
            step: Optimizer step of all points.
            values: Metric name to value.
        """
        self.append("metrics", step=step, values=values, time=now())

    def artifact(self, path: Path, folder: str = "") -> None:
        """Append a file of the run directory, to be uploaded; it replaces an earlier version of the file.

        Args:
            path: The file, which must be in the run directory.
            folder: Folder of the run's artifacts that receives the file; "" (the default) for the top folder.
        """
        self.append("artifact", path=str(path.relative_to(self.folder)), folder=folder)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Append the rows of a table; each table is logged once.

        Args:
            name: File name of the table, like `samples.json`.
            rows: At least one row, all with the same columns: column name to value.
        """
        self.append("table", name=name, rows=rows)

    def model(self, path: Path) -> None:
        """Append the directory of the trained model.

        Args:
            path: The directory, which must be in the run directory.
        """
        self.append("model", path=str(path.relative_to(self.folder)))

    def closing(self) -> None:
        """Append that a sweep has no further jobs; the sync of an unreachable store then stops soon."""
        self.append("closing")

    def sweep(self, name: str, keys: list[str], tags: dict[str, str], ranked: list[str]) -> None:
        """Append the outcome of a sweep to the log of its parent run.

        Args:
            name: Name of the sweep.
            keys: The swept keys.
            tags: Tags of the parent run. A value that is the name of a job's run directory is uploaded as the
                id of that run.
            ranked: Names of the jobs' run directories, the best first.
        """
        self.append("sweep", name=name, keys=keys, tags=tags, ranked=ranked)

    def end(self, status: str, reason: str = "") -> None:
        """Append the last event, unless the run is resumed later, and close the log.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: Why the run ended; its first REASON characters are kept. "" (the default) for no reason.
        """
        self.append("end", status=status, reason=reason[:REASON], time=now())
        self.file.close()

    def added(self, path: Path, folder: str) -> None:
        """Append a file that another command adds to the ended run.

        Args:
            path: The file, which must be in the run directory; it replaces an earlier version.
            folder: Folder of the run's artifacts that receives the file.
        """
        self.append("added", path=str(path.relative_to(self.folder)), folder=folder)

    def resume(self, tags: dict[str, str] | None = None) -> None:
        """Append that the run continues, also after an end.

        Args:
            tags: Tags that the run has from now on, in addition to its others; None (the default) for no new
                tags.
        """
        self.append("resumed", tags=tags or {}, time=now())

    def sync(self) -> int:
        """Wait until the log is on the disk.

        Returns:
            Size of the log in bytes.
        """
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size

    def append(self, kind: str, **fields: Any) -> None:
        """Append one event as a line of JSON, completely or not at all.

        Args:
            kind: Kind of the event, a key of EVENTS.
            **fields: Fields of this kind, with values that JSON can store.

        Raises:
            UserError: The line cannot be written.
        """  # noqa: DOC501 (`write_error` returns a UserError)
        line = memoryview((json.dumps({"kind": kind, **fields}) + "\n").encode())
        before = self.file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[self.file.write(line) :]
        except OSError as error:
            with suppress(OSError):  # else the next opening removes the incomplete line
                self.file.truncate(before)
            raise write_error(self.folder, error) from error


@cache
def event_schema() -> Any:
    """Build the schema of a line of the log, once per process.

    Returns:
        The union of the kinds of EVENTS, distinguished by `kind`, for `parse_json`.
    """
    from pydantic import Field  # takes 50 ms to import; training does not need it

    kinds = [record_schema(kind=Literal[kind], **fields) for kind, fields in EVENTS.items()]
    return Annotated[Union[tuple(kinds)], Field(discriminator="kind")]  # noqa: UP007


def safe_join(folder: Path, name: str) -> Path:
    """Return the path of a file that an event names.

    Args:
        folder: The run directory.
        name: Path of the file relative to the directory, as the event has it.

    Returns:
        The absolute path, without symbolic links.

    Raises:
        UserError: The path is outside of the run directory.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"expected an event log of files in {folder}, got {name}, which is outside of it")
    return path


def read_lines(folder: Path, offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the complete events of a log.

    A last line that is still being written is not read.

    Args:
        folder: The run directory.
        offset: Byte at which to start: 0, or an offset that an earlier call yielded.

    Yields:
        The offset in bytes of the next event, and the event: `kind` and its fields.

    Raises:
        FileNotFoundError: There is no event log.
        UserError: A line is not an event.
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
    """Return how many bytes of a file are complete lines.

    Args:
        file: File open for reading in binary mode; its position changes.

    Returns:
        Number of bytes up to and including the last line end; 0 where there is none.
    """
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
    """Return the kind of the last complete event; only the end of the log is read.

    Args:
        folder: The run directory.

    Returns:
        A key of EVENTS; "" for a log without an event, "other" for an event longer than the part that is
        read.

    Raises:
        FileNotFoundError: There is no event log.
    """
    with (folder / NAME).open("rb") as file:
        whole = complete_length(file)
        if whole == 0:
            return ""
        file.seek(max(0, whole - 16 * REASON))  # longer than any end event
        line = file.read(whole - file.tell()).splitlines()[-1]
    kind = KIND.match(line)
    return kind[1].decode() if kind else "other"  # the rest of a longer event


def has_ended(folder: Path) -> bool:
    """Return whether a run has ended, by the last event of its log.

    Args:
        folder: The run directory.

    Returns:
        False also for an empty log and for a run that was resumed after its end.

    Raises:
        FileNotFoundError: There is no event log.
    """
    return last_kind(folder) in ENDED
