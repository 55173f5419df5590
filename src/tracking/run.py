"""A run that this process writes: its directory, its event log, the process that uploads it, and its end."""

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
from typing_extensions import override

from src.common.callback import Logger
from src.common.file_lock import Lock, acquire
from src.common.files import (
    PROJECT,
    absolute,
    sqlite_file,
    sqlite_uri,
    write_error,
    write_json,
    write_text,
)
from src.common.process import Preempted, available_cores, preemptible
from src.config.schema import PathsConfig
from src.tracking import sync_state
from src.tracking.event_log import EventLog
from src.tracking.run_record import RunRecord, read_events

SWEEP_TAG_PREFIX = "sweep."  # + id of the parent run: tag of the jobs of a sweep, Job.describe() as JSON


def given_uri(config: PathsConfig) -> str | None:
    """Return the URI of the store that a person gives.

    Args:
        config: Config with `tracking.uri`. Without it, MLFLOW_TRACKING_URI counts.

    Returns:
        The URI as it was typed; None or "" for the project's own database.
    """
    return config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")


def tracking_store(config: PathsConfig) -> dict[str, str]:
    """Return where the runs of a config are tracked.

    Args:
        config: Config that gives a URI (`given_uri`); else the database is mlflow.db in its `output_dir`.

    Returns:
        `uri`: URI of the store, with an absolute path for SQLite. `artifacts`: URI of the folder in which a
        new experiment keeps its files; "" for the store's choice.
    """
    if uri := given_uri(config):
        file = sqlite_file(uri)
        moved = file is not None and not file.is_absolute()
        return {"uri": sqlite_uri(absolute(str(file))) if moved else uri, "artifacts": ""}
    outputs = absolute(config.output_dir)
    return {"uri": sqlite_uri(outputs / "mlflow.db"), "artifacts": (outputs / "artifacts").as_uri()}


# The import of MLflow takes about 5 seconds of processor time. Where training uses every core, it slows a
# training of ten seconds by a third. There the upload starts after training, or when training has lasted so
# long that the import is at most 3% of it.
SYNC_DELAY_SECONDS = 180.0


class Run(Logger):
    """A run that this process writes: a directory under output_dir/runs, with its event log.

    Args:
        config: Config that is logged with the run.
        folder: Directory of a run that is resumed; None (the default) for a new run.
        sweep: Directory of the sweep that uploads the logs of its jobs; None (the default) for a run that
            uploads its own.
        lock: Lock of the directory, if this process already holds it; None (the default) to acquire it.

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
        self.stop_reason = ""  # reason of a FINISHED run
        self.run_id = ""  # known once `run_scope` has ended
        self.history = RunRecord("") if folder is None else read_events(folder)
        self.points = {(step, name): v for name, curve in self.history.curves.items() for step, v in curve}
        self.event_log = EventLog(self.folder)
        self.sync_process: sync_state.SyncProcess | None = None
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
        """Log config, params, tags and dataset of a new run.

        Args:
            name: Name of the run.
            params: Flattened config, dotted key to value.
            tags: Tag name to text.
            data: Name, digest, source and profile of the corpus; None for a run without a corpus.
            busy_cores: Number of cores that training keeps busy; the upload waits if there is no other core.

        Raises:
            UserError: A file cannot be written.
        """
        self.event_log.start(self.config.tracking.experiment, name, params, tags, data)
        self.track(busy_cores)

    def resume(self, busy_cores: int, tags: dict[str, str] | None = None) -> None:
        """Continue the log, and the same run in MLflow.

        Args:
            busy_cores: Number of cores that training keeps busy; the upload waits if there is no other core.
            tags: Tags that the run has from now on, in addition to its others; None (the default) for no new
                tags.

        Raises:
            UserError: A file cannot be written.
        """
        self.event_log.resume(tags or {})
        self.track(busy_cores)

    def track(self, busy_cores: int) -> None:
        """Log the config, write where the run is tracked, and decide when its upload starts.

        Args:
            busy_cores: Number of cores that training keeps busy. With a spare core the upload starts at once,
                else after SYNC_DELAY_SECONDS or at the end of training.

        Raises:
            UserError: A file cannot be written.
        """
        write_json(self.folder / "config.json", attrs.asdict(self.config))
        self.event_log.artifact(self.folder / "config.json")
        tracked = self.config.tracking.enabled
        if tracked and self.sweep:
            store = {**tracking_store(self.config), "sweep": str(self.sweep)}
            write_json(self.folder / sync_state.TRACKING, store)
            write_text(self.sweep / sync_state.JOBS / self.folder.name, str(self.folder))
            return
        self.stale_runs = sync_state.close_stale_runs(absolute(self.config.output_dir))
        if tracked:
            write_json(self.folder / sync_state.TRACKING, tracking_store(self.config))
            spare_core = available_cores() > busy_cores
            self.sync_after = time.monotonic() + (0 if spare_core else SYNC_DELAY_SECONDS)

    @override
    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        # A training that is resumed from a checkpoint computes some steps again, with the same values.
        if new := {name: value for name, value in metrics.items() if (step, name) not in self.points}:
            self.points |= {(step, name): value for name, value in new.items()}
            for name, value in new.items():
                self.history.curves.setdefault(name, []).append((step, value))
            self.event_log.metrics(step, new)
        if time.monotonic() > self.sync_after:
            self.start_sync()

    def start_sync(self) -> None:
        """Start the sync of a tracked run in the background, together with stale runs, once.

        Raises:
            UserError: The log of the sync cannot be written.
        """
        if self.sync_after < inf and self.sync_process is None:
            self.sync_process = sync_state.start_background_sync([self.folder, *self.stale_runs])

    @override
    def log_artifact(self, path: Path, folder: str = "") -> None:
        self.event_log.artifact(path, folder)

    def how_to_resume(self) -> str:
        """Return how to continue the run, for an error message.

        Returns:
            The command, or the remark that nothing was trained yet.
        """
        if not (self.folder / "checkpoints").exists():
            return "nothing was trained yet"
        outputs = self.folder.parent.parent
        moved = [] if outputs == PROJECT / "outputs" else [f"output_dir={outputs}"]
        line = f"resume with: python -m src.train resume={shlex.quote(self.folder.name)} {shlex.join(moved)}"
        return line.rstrip()

    def end(self, status: str, reason: str, wait: bool = True) -> str:
        """Append the end event, release the lock and wait until the run is uploaded.

        Args:
            status: FINISHED, FAILED or KILLED.
            reason: Why the run ended; "" for no reason.
            wait: Whether to wait for the sync (the default); else it continues in the background.

        Returns:
            Id of the run in MLflow; the name of the directory for a run that is not (yet) uploaded, and for a
            job that is uploaded with its sweep.
        """
        try:
            self.event_log.end(status, reason)
        finally:
            self.lock.release()
        self.start_sync()
        if not wait or self.sync_process is None:
            return self.folder.name
        if sync_state.wait_for_sync(self.sync_process, self.folder, tracking_store(self.config)["uri"]):
            return sync_state.SyncState.load(self.folder).run_id
        return self.folder.name


@contextmanager
def run_scope(record: Run) -> Iterator[None]:
    """End the run with the context: FINISHED, KILLED by Ctrl-C or SIGTERM, or FAILED with the reason.

    Args:
        record: The run. After a context without an error, its `run_id` is the result of `Run.end`.

    Yields:
        Nothing; the errors of the context pass after the run has ended.

    Raises:
        Preempted: SIGTERM has arrived; the message names the command that resumes the run.
        KeyboardInterrupt: Ctrl-C has arrived at a point where training does not handle it.
    """
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
