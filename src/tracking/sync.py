"""Delivering journals to MLflow: what has been written since, again and again, until each is told to its end.

A store that does not answer is tried again, with growing pauses; nothing is told twice (Delivered.sending).
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from src.common.errors import InputError
from src.common.file_lock import acquire
from src.tracking import event_log, mlflow_writer
from src.tracking.mlflow_client import connect, out_of_reach
from src.tracking.stale_runs import close
from src.tracking.sync_state import Delivered

# MLflow's own way of trying again would not look first what has arrived, and waits for two minutes.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

BATCH = 1000  # metric points a call: MLflow's limit
POLL = 0.2  # seconds between two looks at the journals
LONGEST = 30.0  # seconds between two attempts to reach a store that does not answer
LOCK = "sync.lock"


class Following:
    """A journal and how far it has been delivered. While it is followed nobody else delivers it.

    store: `uri`, `artifacts` of a new experiment ("": its choice), `sweep`: for a job, the directory of its
    sweep. jobs: for a sweep, what gives the directories of its jobs so far. Raises InputError when another
    process does not let it go within `patience` seconds.
    """

    def __init__(
        self,
        folder: Path,
        store: dict[str, str],
        patience: float,
        jobs: Callable[[], list[Path]] = list,
    ) -> None:
        self.folder, self.store, self.jobs = folder, store, jobs
        self.sweep = Path(store["sweep"]) if store.get("sweep") else None
        self.lock = acquire(folder, LOCK, patience)
        self.done = Delivered.of(folder)
        self.doubt = self.done.sending  # what comes next may have arrived already
        self.delivered = 0  # records, by this process

    def whole(self) -> bool:
        return self.done.whole(self.folder)

    def step(self) -> None:
        """Deliver what has been written since, metric points in batches."""
        if self.done.offset == (self.folder / event_log.NAME).stat().st_size:
            return
        client = connect(self.store["uri"])
        points: list[Metric] = []
        seen = self.done.offset
        for offset, record in event_log.read(self.folder, self.done.offset):
            if record["kind"] == "metrics":
                points += mlflow_writer.points(record)
                seen = offset
                if len(points) > BATCH - 50:
                    self.flush(client, points, seen)
                continue
            self.flush(client, points, seen)
            if record["kind"] == "sweep" and not all(Delivered.of(job).ended for job in self.jobs()):
                return  # tells of all jobs
            self.send(partial(self.apply, client, record), offset)
            seen = offset
        self.flush(client, points, seen)

    def flush(self, client: Any, points: list[Metric], offset: int) -> None:
        if points:
            self.send(partial(self.log, client, points), offset)
            points.clear()

    def send(self, tell: Callable[[], None], offset: int) -> None:
        """Note that something is on its way, tell it, note that it has arrived."""
        if not self.done.sending:
            self.done.sending = True
            self.done.save(self.folder)
        try:
            tell()
        except BaseException:
            self.doubt = True
            raise
        self.done.offset, self.done.sending, self.doubt = offset, False, False
        self.done.save(self.folder)
        self.delivered += 1

    def log(self, client: Any, points: list[Metric]) -> None:
        """A batch of metric points."""
        run_id = self.done.run_id
        left = mlflow_writer.missing(client, run_id, points) if self.doubt else points
        if left:
            client.log_batch(run_id, metrics=left)

    def apply(self, client: Any, record: dict[str, Any]) -> None:
        """Any other record."""
        done, kind = self.done, record["kind"]
        if not done.run_id and kind != "start":
            raise no_start(self.folder)
        match kind:
            case "start":
                self.begin(client, record)
            case "artifact":
                client.log_artifact(
                    done.run_id, str(event_log.below(self.folder, record["path"])), record["folder"] or None
                )
            case "table":
                mlflow_writer.table(client, done.run_id, record)
            case "model":
                mlflow_writer.model(
                    client,
                    done.run_id,
                    done.experiment,
                    event_log.below(self.folder, record["path"]),
                    self.doubt,
                )
            case "sweep":
                ids = {job.name: Delivered.of(job).run_id for job in self.jobs()}
                mlflow_writer.sweep(client, done.run_id, done.experiment, record, ids)
            case "resumed":
                mlflow_writer.resumed(client, done.run_id, record.get("tags", {}))
            case "end":
                mlflow_writer.end(client, done.run_id, record)
        done.ended = kind == "end"

    def begin(self, client: Any, record: dict[str, Any]) -> None:
        """Make the run, once, and describe it."""
        done, artifacts, name = self.done, self.store["artifacts"], self.folder.name
        record = self.as_child(record)
        if not done.run_id and self.doubt:
            done.run_id = mlflow_writer.find(client, record, artifacts, name)
        if not done.run_id or not done.experiment:
            if not done.run_id:
                done.run_id, done.experiment = mlflow_writer.create(client, record, artifacts, name)
            done.experiment = done.experiment or client.get_run(done.run_id).info.experiment_id
            done.save(self.folder)
        mlflow_writer.describe(client, done.run_id, record)

    def as_child(self, record: dict[str, Any]) -> dict[str, Any]:
        """The start of a job, with the parent run's id in place of its sweep's own."""
        if self.sweep is None:
            return record
        own, parent = self.sweep.name, Delivered.of(self.sweep).run_id
        if not parent:
            raise InputError(
                f"expected a run whose sweep has been delivered, got {self.folder}: deliver that first with "
                f"python -m src.sync {self.sweep}"
            )
        tags = {k.replace(own, parent): v.replace(own, parent) for k, v in record["tags"].items()}
        return record | {"tags": tags}


def deliver(folder: Path, uri: str, artifacts: str, alive: Callable[[], bool]) -> Delivered:
    """Deliver one journal to its end; alive: whether more may still come. Raises InputError when the store
    does not answer."""
    following = Following(folder, {"uri": uri, "artifacts": artifacts}, patience=0)
    follow([following], lambda _: alive(), patience=0)
    return following.done


def follow(
    following: list[Following],
    alive: Callable[[Path], bool],
    patience: float,
    more: Callable[[], list[Following]] = list,
) -> None:
    """Deliver journals until each is told to its end.

    alive: whether the process that writes in a directory still lives; a journal without an end that nobody
    writes any more is closed as FAILED. more: journals that have appeared since the last time. patience:
    seconds for which a store that does not answer is tried when nothing is written any more; before, it is
    tried for ever. Raises InputError when it has not answered then.
    """
    waiting = list(following)
    try:
        rounds(waiting, alive, patience, more)
    finally:
        for each in waiting:
            each.lock.release()


def rounds(
    waiting: list[Following],
    alive: Callable[[Path], bool],
    patience: float,
    more: Callable[[], list[Following]],
) -> None:
    """Look at the journals again and again; what is whole leaves `waiting`."""
    failing_since, quiet_since, pause = 0.0, 0.0, POLL
    while True:
        waiting += more()
        living = [each.folder for each in waiting if alive(each.folder)]
        before = sum(each.delivered for each in waiting)
        trouble, followed = None, [each.folder for each in waiting]
        for each in list(waiting):
            if each.sweep in followed and not Delivered.of(each.sweep).run_id:
                continue  # its parent first
            try:
                advance(each, each.folder in living)
            except (MlflowException, SQLAlchemyError, OSError) as error:
                trouble = out_of_reach(each.store["uri"], error), error
                waiting.remove(each)
                waiting.append(each)  # should the fault be its own, the others come first
                break
        moved = sum(each.delivered for each in waiting) > before
        for each in [each for each in waiting if each.whole()]:
            each.lock.release()
            waiting.remove(each)
        if not waiting:
            return
        now = time.monotonic()
        quiet_since = 0.0 if living else quiet_since or now
        failing_since = 0.0 if trouble is None or moved else failing_since or now
        if trouble and not living and not moved and now - max(quiet_since, failing_since) >= patience:
            raise trouble[0] from trouble[1]
        pause = POLL if failing_since == 0 else min(2 * pause, LONGEST if living else patience / 4)
        rest(pause, living, alive)


def advance(each: Following, lives: bool) -> None:
    """Deliver what is new, and the end of a run that is dead."""
    each.step()
    if lives or event_log.ended(each.folder):
        return
    if not event_log.last_kind(each.folder):
        raise no_start(each.folder)
    close(each.folder)
    each.step()


def no_start(folder: Path) -> InputError:
    """The one line for a journal that does not say what it is of."""
    return InputError(f"expected a journal with a start, got none in {folder}")


def rest(pause: float, living: list[Path], alive: Callable[[Path], bool]) -> None:
    """Wait, but not past the end of what is being written."""
    until = time.monotonic() + pause
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, POLL))
        if living and left > POLL and not any(alive(folder) for folder in living):
            return
