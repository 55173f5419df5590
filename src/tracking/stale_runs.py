"""Stale runs: their log has no end event and their process is gone. They are closed as FAILED."""

from contextlib import suppress
from pathlib import Path

from src.common.errors import UserError
from src.common.file_lock import acquire, is_locked
from src.tracking import event_log
from src.tracking.background_sync import start_background_sync
from src.tracking.event_log import EventLog
from src.tracking.sync_state import TRACKING, SyncState, list_jobs

STALE_REASON = "process terminated without an end event"


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
    logs = [file for kind in ("runs", "sweeps") for file in output_dir.glob(f"{kind}/*/{event_log.NAME}")]
    folders = [file.parent for file in sorted(logs)]
    stale = [each for each in folders if not event_log.has_ended(each) and not is_locked(each)]
    return [folder for folder in stale if close_run(folder) and (folder / TRACKING).exists()]


def pending_sync(output_dir: Path) -> list[Path]:
    """Close stale runs; return the inactive sweeps and runs that are not uploaded completely.

    Jobs that are uploaded with their sweep are left out.
    """
    close_stale_runs(output_dir)
    files = [file for kind in ("sweeps", "runs") for file in sorted(output_dir.glob(f"{kind}/*/{TRACKING}"))]
    logged = [file.parent for file in files if (file.parent / event_log.NAME).exists()]
    folders = [folder for folder in logged if not SyncState.load(folder).is_complete(folder)]
    jobs = {job for sweep in folders for job in list_jobs(sweep)}
    return [folder for folder in folders if folder not in jobs and not is_locked(folder)]


def close_stale_runs_and_sync(output_dir: Path) -> None:
    """Close stale runs and upload their end in the background."""
    if stale := close_stale_runs(output_dir):
        with suppress(UserError):  # a read-only directory does not keep a command from reading runs
            start_background_sync(stale)
