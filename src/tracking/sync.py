"""Upload of event logs to MLflow, continued from the last uploaded event.

An event whose upload was interrupted is uploaded again: MLflow's database drops identical metric points,
files and tags are overwritten, and runs and models are searched for before they are created.
"""

import os
import shlex
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mlflow.entities import Metric

from src.common.errors import UserError
from src.common.file_lock import acquire, is_locked
from src.tracking import event_log, mlflow_writer
from src.tracking.mlflow_client import StoreUnreachable, connect, store_errors
from src.tracking.run_record import read_events
from src.tracking.sync_state import SyncState, close_run, list_jobs, load_store

BATCH = 1000  # metric points per request: MLflow's limit
POLL = 0.2  # seconds between two checks of the event logs
RETRY_POLL = 1.0  # seconds between two attempts to reach an unreachable store
LOCK = "sync.lock"
FIRST = "val/loss"  # the metric that MLflow lists first


class RunSyncer:
    """Upload of the event log of one run, which no other process uploads at the same time.

    Args:
        folder: Directory of a tracked run or sweep.
        lock_timeout: Seconds to wait for another process that uploads it; 0 (the default) for no wait.

    Raises:
        UserError: Another process uploads it, or its files are damaged.
    """

    def __init__(self, folder: Path, lock_timeout: float = 0.0) -> None:
        self.folder, self.store = folder, load_store(folder)
        self.sweep = Path(self.store["sweep"]) if self.store["sweep"] else None
        self.begun = False  # whether MLflow lists val/loss as the first metric
        self.lock = acquire(folder, LOCK, lock_timeout)
        try:
            self.state = SyncState.load(folder)
        except UserError:
            self.lock.release()
            raise

    def sync(self, active: bool) -> None:
        """Upload the events since the last call.

        Args:
            active: Whether the run's process may append more events; else a run without an end event is
                stale, and is closed.

        Raises:
            StoreUnreachable: MLflow does not answer; a later call continues.
            UserError: The event log is damaged, or has no start event.
        """  # noqa: DOC501 (`missing_start_error` returns a UserError)
        self._upload(active)
        if active or event_log.has_ended(self.folder):
            return
        if not event_log.last_kind(self.folder):
            raise missing_start_error(self.folder)
        close_run(self.folder)
        self._upload(active=False)

    def _upload(self, active: bool) -> None:
        offset = self.state.offset
        if offset == (self.folder / event_log.NAME).stat().st_size:
            return
        with store_errors(self.store["uri"]):
            client, batch = connect(self.store["uri"]), list[Metric]()
            for end, event in event_log.read_lines(self.folder, offset):
                if not self.state.run_id and event["kind"] != "start":
                    raise missing_start_error(self.folder)
                values = event.get("values", {})  # of a metrics event
                metrics = [Metric(name, v, event["time"], event["step"]) for name, v in values.items()]
                if not metrics or len(batch) + len(metrics) > BATCH:
                    self._log_batch(client, batch, offset)
                batch += metrics
                if not metrics:
                    jobs = list_jobs(self.folder) if event["kind"] == "sweep" else []
                    if not all(SyncState.load(job).ended for job in jobs):
                        return  # uploaded after all jobs, whose ids it needs
                    self._apply(client, event, end)
                    self._save(end)
                offset = end
            # MLflow lists metrics in the order of their first points; its compare page draws the first.
            if self.begun or not active or FIRST in {metric.key for metric in batch}:
                self._log_batch(client, batch, offset)

    def _log_batch(self, client: Any, batch: list[Metric], offset: int) -> None:
        if batch:
            batch.sort(key=lambda metric: metric.key != FIRST)
            client.log_batch(self.state.run_id, metrics=batch)
            self.begun = True
            batch.clear()
            self._save(offset)

    def _save(self, offset: int) -> None:
        self.state.offset = offset
        self.state.save(self.folder)

    def _apply(self, client: Any, event: dict[str, Any], offset: int) -> None:
        """Upload an event other than metrics.

        Args:
            client: Client of the store.
            event: The event.
            offset: End of the event in the log, in bytes, by which a model is identified.
        """
        state, kind = self.state, event["kind"]
        path = event_log.safe_join(self.folder, event.get("path", ""))
        match kind:
            case "start":
                self._start(client, event)
            case "added" if not path.exists():
                pass  # the text of a sample, which a person has deleted
            case "artifact" | "added":
                client.log_artifact(state.run_id, str(path), event["folder"] or None)
            case "table":
                mlflow_writer.log_table(client, state.run_id, event)
            case "model":
                run, uri = read_events(self.folder), self.store["uri"]
                mlflow_writer.log_model(client, state.run_id, state.experiment, path, offset, run, uri)
            case "sweep":
                mlflow_writer.log_sweep(client, state.run_id, state.experiment, event)
            case "resumed":
                mlflow_writer.mark_resumed(client, state.run_id, event["tags"])
            case "end":
                if event["reason"]:
                    client.set_tag(state.run_id, "stop_reason", event["reason"])
                mlflow_writer.describe(client, state.run_id, read_events(self.folder))
                client.set_terminated(state.run_id, event["status"], event["time"])
        state.ended = kind in event_log.ENDED

    def _start(self, client: Any, event: dict[str, Any]) -> None:
        """Find or create the run, and log its params and dataset."""
        if self.sweep:
            event = event | {"tags": self._job_tags(event["tags"], self.sweep)}
        if not self.state.run_id:
            found = mlflow_writer.find_or_create_run(client, event, self.store["artifacts"], self.folder.name)
            self.state.run_id, self.state.experiment = found
            self.state.save(self.folder)
        mlflow_writer.log_inputs(client, self.state.run_id, event)

    def _job_tags(self, tags: dict[str, str], sweep: Path) -> dict[str, str]:
        """Return a job's tags with the id of the parent run in place of the name of the sweep.

        Raises:
            UserError: The sweep is not uploaded yet.
        """
        parent = SyncState.load(sweep).run_id
        if not parent:
            raise UserError(
                f"expected a run whose sweep is uploaded, got {self.folder}: upload the sweep first with "
                f"python -m src.sync {shlex.quote(str(sweep))}"
            )
        return {k.replace(sweep.name, parent): v.replace(sweep.name, parent) for k, v in tags.items()}


def sync_all(folders: list[Path], retry_timeout: float = 0.0, lock_timeout: float = 0.0) -> None:
    """Upload runs and sweeps, with the jobs that sweeps begin meanwhile, until all are complete.

    Args:
        folders: Directories of runs and sweeps.
        retry_timeout: Seconds for which an unreachable store is retried when no run is active; 0 (the
            default) for one attempt. While a run is active, there is no limit.
        lock_timeout: Seconds to wait for another process that uploads one of them; 0 (the default) for no
            wait.

    Raises:
        StoreUnreachable: The store did not answer in this time.
        UserError: A file is damaged, or another process uploads the run.
    """
    # This function retries by itself: MLflow's own retries would block for minutes.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    pending: list[RunSyncer] = []
    known: set[Path] = set()
    last_success = time.monotonic()
    with ExitStack() as locks:
        while True:
            for folder in [*folders, *(job for sweep in folders for job in list_jobs(sweep))]:
                if folder not in known:
                    known.add(folder)
                    pending.append(RunSyncer(folder, lock_timeout))
                    locks.callback(pending[-1].lock.release)
            active = {syncer.folder for syncer in pending if is_active(syncer.folder)}
            before = sum(syncer.state.offset for syncer in pending)
            error = _sync_each(pending, active)
            progress = sum(syncer.state.offset for syncer in pending) > before
            for syncer in [each for each in pending if each.state.is_complete(each.folder)]:
                syncer.lock.release()
                pending.remove(syncer)
            if not pending:
                return
            if error is None or progress or active:
                last_success = time.monotonic()
            elif time.monotonic() - last_success >= retry_timeout:
                raise error
            time.sleep(POLL if error is None else RETRY_POLL)


def _sync_each(pending: list[RunSyncer], active: set[Path]) -> StoreUnreachable | None:
    """Upload the new events of each run, a sweep before its jobs.

    Returns:
        The error at which the upload stopped; None if it did not stop.
    """
    folders = {syncer.folder for syncer in pending}
    for syncer in list(pending):
        if syncer.sweep in folders and not SyncState.load(syncer.sweep).run_id:
            continue
        try:
            syncer.sync(syncer.folder in active)
        except StoreUnreachable as error:
            pending.remove(syncer)
            pending.append(syncer)  # if only this run fails, the others are uploaded first
            return error
    return None


def is_active(folder: Path) -> bool:
    """Return whether a process may still append to an event log.

    Args:
        folder: Directory of a run or sweep.

    Returns:
        False also for a sweep whose process lives but that has no further jobs (event `closing`).
    """
    return is_locked(folder) and event_log.last_kind(folder) != "closing"


def missing_start_error(folder: Path) -> UserError:
    """Return the one-line error for an event log that does not begin with a start event.

    Args:
        folder: Directory of the run or sweep.

    Returns:
        The error, to be raised.
    """
    return UserError(f"expected an event log with a start event, got none in {folder}")
