"""A sweep from its start to its end, and its parent run, in the process that launches the jobs.

The sweep's directory holds the event log of the parent run. Where all jobs run on this machine, one
background process syncs this event log and those of all jobs, the parent first, so that the launching process
does not import MLflow and no job waits for it. Where jobs run elsewhere, or query the tracker, the launching
process syncs the parent, whose id is then known at once, and each job syncs its own event log.
"""

import json
import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path

from src.common.errors import UserError
from src.common.file_lock import acquire
from src.common.files import absolute, read_json, write_error, write_json
from src.common.job_result import JobResult
from src.config.schema import PathsConfig
from src.tracking import mlflow_links, sync_state
from src.tracking.event_log import EventLog
from src.tracking.run import tracking_store
from src.tracking.run_record import JOB_NOTE, JobNote, job_result
from src.tracking.run_store import open_store
from src.tracking.sweep import Sweep

POLL_SECONDS = 0.05  # between two reads of the sync state


class SweepRun:
    """An open sweep with its parent run, exported to its jobs.

    Args:
        config: Paths and tracking keys: where the sweep is tracked.
        keys: Dotted names of the swept keys.
        overrides: The typed overrides with several values.
        name: Name of the sweep; `tracking.run_name` has precedence.
        local: Whether all jobs run on this machine without querying the tracker, so that one process syncs
            the parent and the jobs.
        total: Number of jobs.
        kind: Word for one job in messages: `job` or `trial`.

    Raises:
        UserError: The store does not answer, or the sweep's directory cannot be created.
    """

    def __init__(
        self,
        config: PathsConfig,
        keys: list[str],
        overrides: list[str],
        name: str,
        local: bool = False,
        total: int = 0,
        kind: str = "job",
    ) -> None:
        self.config = config
        name = config.tracking.run_name or name
        tags = {"stage": "sweep", "sweep.keys": json.dumps(keys), "sweep.overrides": " ".join(overrides)}
        sweep_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        self.folder = absolute(config.output_dir) / "sweeps" / sweep_id
        local &= config.tracking.enabled
        self.sweep = Sweep(sweep_id, name, keys, str(self.folder) if local else "", total, kind, time.time())
        if config.tracking.enabled:
            self._start_event_log(tags)
        self.sweep.export_env()

    def _start_event_log(self, tags: dict[str, str]) -> None:
        """Begin the parent's event log and its sync: in the background, or at once where jobs need the id.

        Args:
            tags: Tags of the parent run, by name.

        Raises:
            UserError: The sweep's directory cannot be created, or the tracking store does not answer.
        """  # noqa: DOC501 (`write_error` returns a UserError)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        stale = sync_state.close_stale_runs(absolute(self.config.output_dir))
        self.lock = acquire(self.folder)
        self.event_log = EventLog(self.folder)
        self.event_log.start(self.config.tracking.experiment, self.sweep.name, {}, tags, None)
        write_json(self.folder / sync_state.TRACKING, tracking_store(self.config))
        if self.sweep.folder:
            self.sync_process = sync_state.start_background_sync([self.folder, *stale])
            return
        from src.tracking.sync import RunSyncer  # slow to import

        if stale:
            sync_state.start_background_sync(stale)
        self.syncer = RunSyncer(self.folder)
        try:
            self.syncer.sync(active=True)
        except UserError:  # no job has begun
            self.lock.release()
            shutil.rmtree(self.folder)
            raise
        self.sweep = replace(self.sweep, id=self.syncer.state.run_id)

    def results(self) -> list[JobResult]:
        """Return the results of all jobs.

        With one sync process, wait until MLflow has given each job an id. Where the store does not answer,
        the names of the run directories are used instead.

        Returns:
            The results, in the order of the jobs' numbers.
        """
        if not self.sweep.folder:
            return open_store(self.config).job_results(self.sweep.id)
        self.event_log.closing()
        jobs = sync_state.list_jobs(self.folder)
        for job in jobs:
            sync_state.close_run(job)  # killed by an interruption
        ids = {job: sync_state.SyncState.load(job).run_id for job in jobs}
        while not all(ids.values()) and self.sync_process.poll() is None:
            time.sleep(POLL_SECONDS)
            ids = {job: run_id or sync_state.SyncState.load(job).run_id for job, run_id in ids.items()}
        rows = [job_result(job, read_json(job / JOB_NOTE, JobNote), run_id) for job, run_id in ids.items()]
        return sorted(rows, key=lambda row: row.number)

    def end(
        self, status: str, metrics: dict[str, float], tags: dict[str, str], page: Path, jobs: list[JobResult]
    ) -> mlflow_links.SweepLinks | None:
        """Log the sweep's outcome, end the parent run and wait until everything is synced.

        Args:
            status: Final status: FINISHED, FAILED or KILLED.
            metrics: Metrics of the parent run, by name.
            tags: Additional tags of the parent run, by name.
            page: The sweep's comparison page, a file in its directory.
            jobs: Results of all jobs, the best first.

        Returns:
            The links that open the sweep in MLflow's UI; None when the store did not answer.
        """
        sweep = self.sweep
        self.event_log.artifact(page)
        self.event_log.metrics(0, metrics)
        self.event_log.sweep(sweep.name, sweep.keys, tags, [row.directory for row in jobs])
        self.event_log.end(status)
        self.lock.release()
        if not sweep.folder:
            self.syncer.sync(active=False)
            self.syncer.lock.release()
        elif not sync_state.wait_for_sync(self.sync_process, self.folder, tracking_store(self.config)["uri"]):
            return None
        done, ids = sync_state.SyncState.load(self.folder), [row.run_id for row in jobs]
        server, _ = mlflow_links.ui_location(self.config)
        return mlflow_links.sweep_links(server, done.experiment, done.run_id, ids)


def sync_pending(config: PathsConfig) -> None:
    """Sync the runs that earlier commands left, before the tracker is queried for finished jobs.

    Args:
        config: Paths and tracking keys; only runs of the same tracking store are synced.
    """
    if not config.tracking.enabled:
        return
    uri = tracking_store(config)["uri"]
    pending = sync_state.pending_sync(absolute(config.output_dir))
    if folders := [each for each in pending if sync_state.load_store(each)["uri"] == uri]:
        sync_state.start_background_sync(folders).wait()
