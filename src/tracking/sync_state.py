"""Sync state of the runs on this machine, and the background process that uploads the rest to MLflow.

Nothing here imports MLflow. A stale run, whose log has no end event and whose process no longer exists, is
closed as FAILED before it is uploaded.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NotRequired

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import acquire, is_locked
from src.common.files import PROJECT, read_json, record_schema, write_error, write_json
from src.tracking import event_log
from src.tracking.event_log import EventLog

STATE = "sync_state.json"
TRACKING = "tracking.json"  # in the directory of a tracked run: where it is tracked (`load_store`)
JOBS = "jobs"  # folder in a sweep's directory: per job, a file with the path of its run directory
LOG = "sync.log"
STALE_REASON = "process terminated without an end event"
STORE = record_schema(uri=str, artifacts=str, sweep=NotRequired[str])  # content of TRACKING
SyncProcess = subprocess.Popen[bytes]


@dataclass
class SyncState:
    """Uploaded part of a run's event log.

    Attributes:
        offset: Number of uploaded bytes of the event log.
        run_id: Id of the run in MLflow; "" before it exists.
        experiment: Id of its experiment in MLflow; "" before the run exists.
        ended: Whether the run has ended with the last uploaded event.
    """

    offset: int = 0
    run_id: str = ""
    experiment: str = ""
    ended: bool = False

    @classmethod
    def load(cls, folder: Path) -> "SyncState":
        """Read the state of a run.

        Args:
            folder: Directory of the run or sweep.

        Returns:
            The state; the initial state where nothing was uploaded.

        Raises:
            UserError: The file is damaged.
        """
        if not (folder / STATE).exists():
            return cls()
        return cls(**read_json(folder / STATE, state_schema(), ""))

    def save(self, folder: Path) -> None:
        """Write the state of a run.

        Args:
            folder: Directory of the run or sweep.

        Raises:
            UserError: The file cannot be written.
        """
        write_json(folder / STATE, asdict(self))

    def is_complete(self, folder: Path) -> bool:
        """Return whether the whole event log, including an end event, is uploaded.

        Args:
            folder: Directory of the run or sweep.

        Returns:
            False also if the log has grown since the last upload.

        Raises:
            FileNotFoundError: There is no event log.
        """
        return self.ended and self.offset == (folder / event_log.NAME).stat().st_size


@cache
def state_schema() -> Any:
    """Build the schema of STATE, once per process.

    Returns:
        The schema, for `read_json`.
    """
    from pydantic import NonNegativeInt  # takes 50 ms to import; training does not need it

    return record_schema(offset=NonNegativeInt, run_id=str, experiment=str, ended=bool)


def load_store(folder: Path) -> dict[str, str]:
    """Read where a run is tracked.

    Args:
        folder: Directory of a tracked run or sweep.

    Returns:
        `uri`: URI of the store. `artifacts`: URI of the folder for the files of a new experiment; "" for the
        store's choice. `sweep`: directory of the sweep that uploads the job; "" for a run that uploads its
        own log.

    Raises:
        UserError: The file is missing or damaged.
    """
    return {"sweep": "", **read_json(folder / TRACKING, STORE, "")}


def list_jobs(sweep: Path) -> list[Path]:
    """List the jobs that a sweep has begun so far.

    Args:
        sweep: Directory of a sweep or run.

    Returns:
        Run directories of the jobs; empty for a run.
    """
    files = sorted((sweep / JOBS).glob("[!.]*"))  # a name with a leading dot is a file that is being written
    return [Path(file.read_text(encoding="utf-8")) for file in files]


def close_run(folder: Path) -> bool:
    """Append the end event of a stale run.

    Args:
        folder: Directory of the run or sweep.

    Returns:
        False if nothing was appended because the run is active, has an end event, or has no event at all.
    """
    try:
        lock = acquire(folder, timeout=0)
    except UserError:  # active, or another user's directory
        return False
    try:
        if event_log.last_kind(folder) in ("", *event_log.ENDED):
            return False
        EventLog(folder).end("FAILED", STALE_REASON)
    finally:
        lock.release()
    return True


def add_files(folder: Path, names: Iterable[str]) -> None:
    """Add files to an ended run: append them to its event log, and upload them in the background.

    Args:
        folder: Directory of a tracked run.
        names: Paths of the files, in the run directory and below the artifacts.

    Raises:
        UserError: Another process writes the run, for example because it was resumed.
    """
    close_run(folder)
    lock = acquire(folder)
    try:
        log = EventLog(folder)
        for name in names:
            log.added(folder / name, str(Path(name).parent))
        log.file.close()
    finally:
        lock.release()
    start_background_sync([folder])


def find_run(runs: Path, name: str) -> Path | None:
    """Find the directory of a run, finished or not.

    Args:
        runs: Folder with the run directories.
        name: Name of the directory, or id of the run in MLflow.

    Returns:
        The run directory; None where there is no such run on this machine.

    Raises:
        UserError: A sync state is damaged.
    """
    if Path(name).name == name and (runs / name / event_log.NAME).is_file():
        return runs / name
    folders = [file.parent for file in runs.glob(f"*/{STATE}")]
    return next((folder for folder in folders if SyncState.load(folder).run_id == name), None)


def close_stale_runs(output_dir: Path) -> list[Path]:
    """Close all stale runs and sweeps; only the end of each log is read.

    Args:
        output_dir: Absolute path of the folder with all outputs.

    Returns:
        Directories of the closed ones that are tracked and therefore have to be uploaded.
    """
    folders = list_logged(output_dir)
    stale = [each for each in folders if not event_log.has_ended(each) and not is_locked(each)]
    return [folder for folder in stale if close_run(folder) and (folder / TRACKING).exists()]


def list_logged(output_dir: Path) -> list[Path]:
    """List the sweeps and the runs that have an event log.

    Args:
        output_dir: Absolute path of the folder with all outputs.

    Returns:
        Their directories: first the sweeps, then the runs, each by name.
    """
    name = event_log.NAME
    files = [*sorted(output_dir.glob(f"sweeps/*/{name}")), *sorted(output_dir.glob(f"runs/*/{name}"))]
    return [file.parent for file in files]


def pending_sync(output_dir: Path) -> list[Path]:
    """Close stale runs, and list the inactive sweeps and runs that are not completely uploaded.

    Args:
        output_dir: Absolute path of the folder with all outputs.

    Returns:
        Their directories, without jobs that are uploaded with their sweep.

    Raises:
        UserError: A sync state is damaged.
    """
    close_stale_runs(output_dir)
    tracked = [folder for folder in list_logged(output_dir) if (folder / TRACKING).exists()]
    folders = [folder for folder in tracked if not SyncState.load(folder).is_complete(folder)]
    jobs = {job for sweep in folders for job in list_jobs(sweep)}
    return [folder for folder in folders if folder not in jobs and not is_locked(folder)]


def close_stale_runs_and_sync(output_dir: Path) -> None:
    """Close stale runs and upload their end events in the background.

    Args:
        output_dir: Absolute path of the folder with all outputs.
    """
    if stale := close_stale_runs(output_dir):
        with suppress(UserError):  # a command can still read runs of a read-only directory
            start_background_sync(stale)


def start_background_sync(folders: Sequence[Path]) -> SyncProcess:
    """Start `python -m src.sync` for the directories of runs and sweeps.

    The process ends when everything is uploaded or, if MLflow is unreachable, some seconds after the last
    run.

    Args:
        folders: At least one directory; errors are written to sync.log of the first.

    Returns:
        The process.

    Raises:
        UserError: The log cannot be written.
    """  # noqa: DOC501 (`write_error` returns a UserError)
    args = [sys.executable, "-m", "src.sync", *map(str, folders), "--background"]
    try:
        with (folders[0] / LOG).open("wb") as log:
            null = subprocess.DEVNULL
            # in its own process group: Ctrl-C ends the training, whose events must still be uploaded
            return subprocess.Popen(args, cwd=PROJECT, stdin=null, stdout=null, stderr=log, process_group=0)
    except OSError as error:
        raise write_error(folders[0] / LOG, error) from error


def wait_for_sync(process: SyncProcess, folder: Path, uri: str) -> bool:
    """Wait for a background sync; if it fails, print on standard error how to upload the run later.

    Args:
        process: The process that `start_background_sync` started.
        folder: Directory of the run or sweep, for the message.
        uri: URI of the store, for the message.

    Returns:
        True if everything is uploaded.
    """
    if process.wait() == 0:
        return True
    echo_err(
        f"tracking.uri: expected a store that answers at {uri}, got none (see {folder / LOG}): the run is "
        f"stored locally; upload it with: python -m src.sync {shlex.quote(str(folder))}"
    )
    return False
