"""Sync state of the runs on this machine, and the background process that uploads the rest to MLflow.

Nothing here imports MLflow. A stale run, whose log has no end event and whose process is gone, is closed as
FAILED before it is uploaded.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NotRequired

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import acquire, is_locked
from src.common.files import PROJECT, read_json, record_schema, write_error, write_json, write_text
from src.tracking import event_log
from src.tracking.event_log import EventLog

STATE = "sync_state.json"
TRACKING = "tracking.json"  # of a tracked run: where it is tracked (`load_store`)
JOBS = "jobs"  # folder in a sweep's directory: for each job a file with the path of its directory
LOG = "sync.log"
STALE_REASON = "process terminated without an end event"
STORE = record_schema(uri=str, artifacts=str, sweep=NotRequired[str])  # content of TRACKING
SyncProcess = subprocess.Popen[bytes]


@dataclass
class SyncState:
    """Uploaded part of a run's event log.

    Attributes:
        offset: Uploaded bytes of the event log.
        run_id: MLflow's id of the run; "" before it exists.
        experiment: MLflow's id of its experiment.
        ended: Whether the last uploaded event is an end.
    """

    offset: int = 0
    run_id: str = ""
    experiment: str = ""
    ended: bool = False

    @classmethod
    def load(cls, folder: Path) -> "SyncState":
        """Read the state of a run's directory; the initial state where nothing was uploaded.

        Raises:
            UserError: The file is damaged.
        """
        if not (folder / STATE).exists():
            return cls()
        from pydantic import NonNegativeInt  # takes 50 ms to import, which no training waits for

        schema = record_schema(offset=NonNegativeInt, run_id=str, experiment=str, ended=bool)
        return cls(**read_json(folder / STATE, schema, ""))

    def save(self, folder: Path) -> None:
        """Write the state to a run's directory."""
        write_json(folder / STATE, asdict(self))

    def is_complete(self, folder: Path) -> bool:
        """Return whether the whole event log, including an end event, is uploaded."""
        return self.ended and self.offset == (folder / event_log.NAME).stat().st_size


def load_store(folder: Path) -> dict[str, str]:
    """Read where a run is tracked: `uri`, `artifacts` and, of a job, `sweep`, the sweep's directory.

    Raises:
        UserError: The file is damaged.
    """
    return {"sweep": "", **read_json(folder / TRACKING, STORE, "")}


def register_job(sweep: Path, job: Path) -> None:
    """Add a job's directory to those that are uploaded with the sweep."""
    write_text(sweep / JOBS / job.name, str(job))


def list_jobs(sweep: Path) -> list[Path]:
    """List the directories of the sweep's jobs so far; empty for a run."""
    files = sorted((sweep / JOBS).glob("[!.]*"))  # a leading dot: being written
    return [Path(file.read_text(encoding="utf-8")) for file in files]


def close_run(folder: Path) -> bool:
    """Append the end event of a stale run; False when it is active, has an end, or has no event at all."""
    try:
        lock = acquire(folder, timeout=0)
    except UserError:  # active after all, or another user's directory
        return False
    try:
        if event_log.last_kind(folder) in ("", "end"):
            return False
        EventLog(folder).end("FAILED", STALE_REASON)
    finally:
        lock.release()
    return True


def close_stale_runs(output_dir: Path) -> list[Path]:
    """Close all stale runs and sweeps; only the last line of each log is read.

    Returns:
        Those of them that are tracked and so have to be uploaded.
    """
    folders = list_logged(output_dir)
    stale = [each for each in folders if not event_log.has_ended(each) and not is_locked(each)]
    return [folder for folder in stale if close_run(folder) and (folder / TRACKING).exists()]


def list_logged(output_dir: Path) -> list[Path]:
    """List the sweeps and the runs that have an event log."""
    name = event_log.NAME
    files = [*sorted(output_dir.glob(f"sweeps/*/{name}")), *sorted(output_dir.glob(f"runs/*/{name}"))]
    return [file.parent for file in files]


def pending_sync(output_dir: Path) -> list[Path]:
    """Close stale runs; return the inactive sweeps and runs that are not uploaded completely.

    Jobs that are uploaded with their sweep are left out.
    """
    close_stale_runs(output_dir)
    tracked = [folder for folder in list_logged(output_dir) if (folder / TRACKING).exists()]
    folders = [folder for folder in tracked if not SyncState.load(folder).is_complete(folder)]
    jobs = {job for sweep in folders for job in list_jobs(sweep)}
    return [folder for folder in folders if folder not in jobs and not is_locked(folder)]


def close_stale_runs_and_sync(output_dir: Path) -> None:
    """Close stale runs and upload their end in the background."""
    if stale := close_stale_runs(output_dir):
        with suppress(UserError):  # a read-only directory does not keep a command from reading runs
            start_background_sync(stale)


def start_background_sync(folders: Sequence[Path]) -> SyncProcess:
    """Start `python -m src.sync` for the directories of runs and sweeps.

    It ends once everything is uploaded, or, when MLflow is unreachable, some seconds after the last run.

    Args:
        folders: The directories; errors are written to sync.log of the first.

    Raises:
        UserError: The log cannot be written.
    """
    command = [sys.executable, "-m", "src.sync", *map(str, folders), "--background"]
    try:
        with (folders[0] / LOG).open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                process_group=0,  # Ctrl-C ends the training, whose events must still be uploaded
            )
    except OSError as error:
        raise write_error(folders[0] / LOG, error) from error


def wait_for_sync(process: SyncProcess, folder: Path, uri: str) -> bool:
    """Wait for the process; True when everything is uploaded, else print how to upload it later."""
    if process.wait() == 0:
        return True
    echo_err(
        f"tracking.uri: expected a store that answers at {uri}, got none (see {folder / LOG}): the run is "
        f"stored locally; upload it with: python -m src.sync {shlex.quote(str(folder))}"
    )
    return False
