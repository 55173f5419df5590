"""An active run: its directory, its event log, the process that uploads it, and how it ends."""

import os
import secrets
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import attrs

from src.common.file_lock import Lock, acquire
from src.common.files import PROJECT, absolute, write_error, write_json
from src.common.process import Preempted, available_cores, preemptible
from src.config.schema import PathsConfig
from src.tracking.event_log import EventLog
from src.tracking.run_record import History, read_events
from src.tracking.sync_state import (
    TRACKING,
    SyncProcess,
    SyncState,
    close_stale_runs,
    register_job,
    start_background_sync,
    wait_for_sync,
)

SWEEP_TAG_PREFIX = "sweep."  # + the parent's id: tag of the runs of a sweep, Job.describe() as JSON


def tracking_store(config: PathsConfig) -> dict[str, str]:
    """Return `uri` of the store and `artifacts`, the place for a new experiment's ("": its choice)."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        relative = uri.removeprefix("sqlite:///")
        if relative != uri and not relative.startswith("/"):
            uri = f"sqlite:///{absolute(relative)}"
        return {"uri": uri, "artifacts": ""}
    outputs = absolute(config.output_dir)
    return {"uri": f"sqlite:///{outputs / 'mlflow.db'}", "artifacts": (outputs / "artifacts").as_uri()}


# Importing MLflow takes some 5 seconds of processor time. Where training uses every core, that slows a
# training of ten seconds by a third. There the upload starts when training is over, or has lasted so long
# that this is at most 3% of it.
SYNC_DELAY_SECONDS = 180.0


class Run:
    """A run that this process writes: a directory under output_dir/runs, with its event log.

    Args:
        config: Logged with the run.
        folder: The directory of a run that is resumed; None for a new one.
        sweep: Directory of the sweep that uploads the logs of its jobs; None for a run that uploads its own.
        lock: Of the directory, where this process holds it already.

    Raises:
        UserError: The directory cannot be written to, or another process writes it.
    """

    def __init__(
        self,
        config: PathsConfig,
        folder: Path | None = None,
        sweep: Path | None = None,
        lock: Lock | None = None,
    ) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.folder = folder or absolute(config.output_dir) / "runs" / f"{stamp}-{secrets.token_hex(3)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=folder is not None)
        except OSError as error:
            raise write_error(self.folder, error) from error
        self.lock = lock or acquire(self.folder)
        self.config, self.sweep = config, sweep
        self.stop_reason = ""  # of a run that finished
        self.run_id = ""  # known once `run_scope` has ended
        self.history = History() if folder is None else History.of(read_events(folder))
        self.event_log = EventLog(self.folder)
        self.sync_process: SyncProcess | None = None
        self.sync_after = inf  # never
        self.stale_runs: list[Path] = []  # uploaded along with this run

    def start(
        self,
        name: str,
        params: dict[str, Any],
        tags: dict[str, str],
        data: dict[str, Any] | None,
        busy_cores: int,
    ) -> None:
        """Log config, params, tags and dataset. busy_cores: cores that training keeps busy."""
        self.event_log.start(self.config.tracking.experiment, name, params, tags, data)
        self.track(busy_cores)

    def resume(self, busy_cores: int, tags: dict[str, str] | None = None) -> None:
        """Continue the log, and the same run in MLflow. tags: of the run from now on."""
        self.event_log.resume(tags or {})
        self.track(busy_cores)

    def track(self, busy_cores: int) -> None:
        """Log the config, write where the run is tracked, and decide when its upload starts."""
        write_json(self.folder / "config.json", attrs.asdict(self.config))
        self.event_log.artifact(self.folder / "config.json")
        tracked = self.config.tracking.enabled
        if tracked and self.sweep:
            write_json(self.folder / TRACKING, {**tracking_store(self.config), "sweep": str(self.sweep)})
            register_job(self.sweep, self.folder)
            return
        self.stale_runs = close_stale_runs(absolute(self.config.output_dir))
        if tracked:
            write_json(self.folder / TRACKING, tracking_store(self.config))
            spare_core = available_cores() > busy_cores
            self.sync_after = time.monotonic() + (0 if spare_core else SYNC_DELAY_SECONDS)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log those metrics that the event log does not have at this step: a resumed run repeats some."""
        if new := self.history.add(step, metrics):
            self.event_log.metrics(step, new)

    def sync_when_due(self) -> None:
        """Start the background sync as soon as training leaves it a core, or has lasted long enough."""
        if time.monotonic() > self.sync_after:
            self.start_sync()

    def sync_event_log(self) -> int:
        """Wait until the event log is on the disk; return its size in bytes."""
        return self.event_log.sync()

    def start_sync(self) -> None:
        """Start the upload of a tracked run in the background, once."""
        if self.sync_after < inf and self.sync_process is None:
            self.sync_process = start_background_sync([self.folder, *self.stale_runs])

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file of the run's directory, below `folder` of its artifacts."""
        self.event_log.artifact(path, folder)

    def how_to_resume(self) -> str:
        """Return the command that continues the run, for an error message."""
        if not (self.folder / "checkpoints").exists():
            return "nothing was trained yet"
        outputs = self.folder.parent.parent
        moved = "" if outputs == PROJECT / "outputs" else f" {shlex.quote(f'output_dir={outputs}')}"
        return f"resume with: python -m src.train resume={self.folder.name}{moved}"

    def end(self, status: str, reason: str, wait: bool = True) -> str:
        """Append the end event, release the lock and wait until the run is uploaded.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: Why it ended.
            wait: Whether there is time to wait; without, the upload continues in the background.

        Returns:
            MLflow's id of the run; the directory's name for a run that is not (yet) uploaded, and for a job
            that is uploaded with its sweep.
        """
        try:
            self.event_log.end(status, reason)
        finally:
            self.lock.release()
        self.start_sync()
        if not wait or self.sync_process is None:
            return self.folder.name
        if wait_for_sync(self.sync_process, self.folder, tracking_store(self.config)["uri"]):
            return SyncState.load(self.folder).run_id
        return self.folder.name


@contextmanager
def run_scope(record: Run) -> Iterator[None]:
    """Close the run whatever happens: FINISHED, KILLED by Ctrl-C or SIGTERM, or FAILED with the reason."""
    try:
        with preemptible():
            yield
    except Preempted as error:
        record.end("KILLED", str(error), wait=False)
        raise Preempted(f"ended by {error}; {record.how_to_resume()}") from error
    except KeyboardInterrupt:
        record.end("KILLED", "interrupted")
        raise
    except BaseException as error:
        record.end("FAILED", " ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    record.run_id = record.end("FINISHED", record.stop_reason)
