"""A sweep in the process that launched it: journal first, deliver behind, as a run.

The sweep's directory has a journal, of the parent run, and one process delivers that and the journals of all
jobs. It makes the parent first, so that the launching process imports no MLflow and no job waits for it.
"""

import json
import secrets
import time
from pathlib import Path

from src.common.atomic_io import cannot_write, write_json
from src.common.file_lock import hold
from src.common.job_result import Row
from src.common.paths import absolute
from src.config.schema import PlacesConfig
from src.sweeps.sweep import Sweep
from src.tracking import mlflow_links
from src.tracking.background_sync import deliver_beside, finished
from src.tracking.event_log import Journal
from src.tracking.run import store_of
from src.tracking.run_record import JOB_NOTE, job_result, read_job_note
from src.tracking.stale_runs import close, left_over, mark_dead
from src.tracking.sync_queue import jobs_of
from src.tracking.sync_state import TRACKING, Delivered, store_in

LOOK = 0.05  # seconds between two looks at what the deliverer has noted


class SweepRecord:
    """The open sweep.

    folder: its directory, whose name is the sweep's id until the parent run has one. tags: of the parent.
    Raises InputError when the directory cannot be made.
    """

    def __init__(self, config: PlacesConfig, folder: Path, name: str, tags: dict[str, str]) -> None:
        self.config, self.folder = config, folder
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        dead = [each for each in mark_dead(absolute(config.output_dir)) if (each / TRACKING).exists()]
        self.held = hold(folder)
        self.journal = Journal(folder)
        self.journal.start(config.tracking.experiment, name, {}, tags, None)
        write_json(folder / TRACKING, store_of(config))
        self.deliverer = deliver_beside([folder, *dead], brisk=True)

    def rows(self) -> list[Row]:
        """A row for each job, in the order of their numbers, once MLflow has given each an id, or the store
        does not answer: then the names of the directories stand for the ids."""
        self.journal.closing()
        jobs = jobs_of(self.folder)
        for job in jobs:
            close(job)  # what an interruption killed
        ids = {job: Delivered.of(job).run_id for job in jobs}
        while not all(ids.values()) and self.deliverer.poll() is None:
            time.sleep(LOOK)
            ids = {job: run_id or Delivered.of(job).run_id for job, run_id in ids.items()}
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
        ranked: list[Row],
    ) -> mlflow_links.Addresses | None:
        """Tell what the sweep came to, wait until everything is delivered; the addresses that open it, None
        when the store has not answered. ranked: the rows, the best first; page: a file in the directory."""
        self.journal.artifact(page)
        self.journal.metrics(0, metrics)
        self.journal.sweep(sweep.name, sweep.keys, tags, [row.directory for row in ranked])
        self.journal.end(status)
        self.held.release()
        if not finished(self.deliverer, self.folder, store_of(self.config)["uri"]):
            return None
        done, ids = Delivered.of(self.folder), [row.run_id for row in ranked]
        return mlflow_links.addresses(
            mlflow_links.server_of(self.config)[0], done.experiment, done.run_id, ids
        )


def settle(config: PlacesConfig) -> None:
    """Bring what earlier commands have left to the tracker, which is asked for finished jobs."""
    if config.tracking.name == "none":
        return
    uri = store_of(config)["uri"]
    if folders := [each for each in left_over(absolute(config.output_dir)) if store_in(each) == uri]:
        deliver_beside(folders, brisk=True).wait()


def open_sweep(
    config: PlacesConfig,
    keys: list[str],
    typed: list[str],
    title: str = "",
    local: bool = False,
) -> tuple[Sweep, SweepRecord | None]:
    """Open the sweep and announce it. typed: those overrides that hold several values; title: the sweep's
    name where it is not these. local: all jobs run on this machine and ask the tracker nothing, so that one
    process delivers the whole sweep, parent and jobs.

    Otherwise the parent run is made now. Raises InputError when the store does not answer then.
    """
    name = config.tracking.run_name or title or " ".join(typed) or "sweep"
    own = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    tags = {"stage": "sweep", "sweep.keys": json.dumps(keys), "sweep.typed": " ".join(typed)}
    record = None
    if config.tracking.name == "none":
        sweep = Sweep(own, name, keys)
    elif local:
        folder = absolute(config.output_dir) / "sweeps" / own
        record = SweepRecord(config, folder, name, tags)
        sweep = Sweep(own, name, keys, str(folder))
    else:
        from src.tracking import mlflow_store  # slow to import

        absolute(config.output_dir).mkdir(parents=True, exist_ok=True)
        store = store_of(config)
        parent = mlflow_store.create_parent(
            store["uri"], config.tracking.experiment, store["artifacts"], name, tags
        )
        sweep = Sweep(parent, name, keys)
    sweep.announce()
    return sweep, record
