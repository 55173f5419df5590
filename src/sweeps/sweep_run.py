"""The parent run of a sweep, in the process that launches the jobs.

The sweep's directory holds the parent's event log. One background process syncs it and the event logs of all
jobs, the parent first, so that the launching process does not import MLflow and no job waits for it.
"""

import json
import secrets
import time
from pathlib import Path

from src.common.file_lock import acquire
from src.common.files import absolute, write_error, write_json
from src.common.job_result import JobResult
from src.config.schema import PathsConfig
from src.sweeps.sweep import Sweep
from src.tracking import mlflow_links
from src.tracking.event_log import EventLog
from src.tracking.run import tracking_store
from src.tracking.run_record import JOB_NOTE, job_result, read_job_note
from src.tracking.sync_state import (
    SHARE,
    TRACKING,
    SyncState,
    close_run,
    close_stale_runs,
    list_jobs,
    load_store,
    pending_sync,
    start_background_sync,
    wait_for_sync,
)

POLL_SECONDS = 0.05  # between two reads of the sync state


class SweepRun:
    """The open parent run of a sweep whose jobs all run on this machine.

    Args:
        config: Where the sweep is tracked.
        folder: The sweep's directory; its name is the sweep's id until MLflow has given the parent one.
        name: The parent run's name.
        tags: The parent run's tags.

    Raises:
        UserError: When the directory cannot be created.
    """

    def __init__(self, config: PathsConfig, folder: Path, name: str, tags: dict[str, str]) -> None:
        self.config, self.folder = config, folder
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise write_error(folder, error) from error
        stale = close_stale_runs(absolute(config.output_dir))
        self.lock = acquire(folder)
        self.journal = EventLog(folder)
        self.journal.start(config.tracking.experiment, name, {}, tags, None)
        write_json(folder / TRACKING, tracking_store(config))
        self.sync_process = start_background_sync([folder, *stale], SHARE)

    def results(self) -> list[JobResult]:
        """Results of all jobs, by number.

        Waits until MLflow has given each job an id. Where the store does not answer, the names of the run
        directories take their place.
        """
        self.journal.closing()
        jobs = list_jobs(self.folder)
        for job in jobs:
            close_run(job)  # killed by an interruption
        ids = {job: SyncState.load(job).run_id for job in jobs}
        while not all(ids.values()) and self.sync_process.poll() is None:
            time.sleep(POLL_SECONDS)
            ids = {job: run_id or SyncState.load(job).run_id for job, run_id in ids.items()}
        return sorted(
            (job_result(job, read_job_note(job / JOB_NOTE), run_id) for job, run_id in ids.items()),
            key=lambda row: row.number,
        )

    def end(
        self,
        status: str,
        sweep: Sweep,
        metrics: dict[str, float],
        tags: dict[str, str],
        page: Path,
        ranked: list[JobResult],
    ) -> mlflow_links.SweepLinks | None:
        """Log the sweep's outcome, end the parent run and wait until everything is synced.

        Args:
            status: FINISHED, FAILED or KILLED.
            sweep: The sweep.
            metrics: The parent's metrics.
            tags: More tags of the parent.
            page: The sweep's page, a file in its directory.
            ranked: Results of all jobs, the best first.

        Returns:
            The links that open the sweep in MLflow's UI; None when the store did not answer.
        """
        self.journal.artifact(page)
        self.journal.metrics(0, metrics)
        self.journal.sweep(sweep.name, sweep.keys, tags, [row.directory for row in ranked])
        self.journal.end(status)
        self.lock.release()
        if not wait_for_sync(self.sync_process, self.folder, tracking_store(self.config)["uri"]):
            return None
        done, ids = SyncState.load(self.folder), [row.run_id for row in ranked]
        return mlflow_links.sweep_links(
            mlflow_links.ui_location(self.config)[0], done.experiment, done.run_id, ids
        )


def sync_pending(config: PathsConfig) -> None:
    """Sync the runs that earlier commands left behind, before the tracker is queried for finished jobs."""
    if not config.tracking.enabled:
        return
    uri = tracking_store(config)["uri"]
    pending = pending_sync(absolute(config.output_dir))
    if folders := [each for each in pending if load_store(each)["uri"] == uri]:
        start_background_sync(folders, SHARE).wait()


def open_sweep(
    config: PathsConfig,
    keys: list[str],
    overrides: list[str],
    name: str = "",
    local: bool = False,
) -> tuple[Sweep, SweepRun | None]:
    """Open a sweep and export it to its jobs.

    Args:
        config: Where the sweep is tracked.
        keys: The swept keys.
        overrides: The typed overrides with several values.
        name: The sweep's name where it is not these overrides.
        local: Whether all jobs run on this machine without querying the tracker, so that one process syncs
            the parent and the jobs. Otherwise the parent run is created now.

    Raises:
        UserError: When the store does not answer.
    """
    name = config.tracking.run_name or name or " ".join(overrides) or "sweep"
    own = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    tags = {"stage": "sweep", "sweep.keys": json.dumps(keys), "sweep.overrides": " ".join(overrides)}
    run = None
    if not config.tracking.enabled:
        sweep = Sweep(own, name, keys)
    elif local:
        folder = absolute(config.output_dir) / "sweeps" / own
        run = SweepRun(config, folder, name, tags)
        sweep = Sweep(own, name, keys, str(folder))
    else:
        from src.tracking import mlflow_store  # slow to import

        absolute(config.output_dir).mkdir(parents=True, exist_ok=True)
        store = tracking_store(config)
        parent = mlflow_store.create_parent(
            store["uri"], config.tracking.experiment, store["artifacts"], name, tags
        )
        sweep = Sweep(parent, name, keys)
    sweep.export_env()
    return sweep, run
