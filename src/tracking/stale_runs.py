"""Runs whose process is gone without a word: closed as FAILED by whoever comes by next."""

from contextlib import suppress
from pathlib import Path

from src.common.errors import InputError
from src.common.file_lock import acquire, is_locked
from src.tracking import event_log
from src.tracking.background_sync import deliver_beside
from src.tracking.event_log import Journal
from src.tracking.sync_queue import jobs_of
from src.tracking.sync_state import TRACKING, undelivered

REASON = "the process ended without a word"


def close(folder: Path) -> bool:
    """Write the end of a run that nobody writes any more; False when it lives, or has an end already."""
    try:
        mine = acquire(folder, timeout=0)
    except InputError:  # it lives after all, or somebody else's folder, which is for its owner to close
        return False
    try:
        if event_log.last_kind(folder) in ("", "end"):  # "": killed before it had told anything
            return False
        Journal(folder).end("FAILED", REASON)
    finally:
        mine.release()
    return True


def mark_dead(outputs: Path) -> list[Path]:
    """Close every dead run and sweep under `outputs`; their directories.

    Reads the end of each journal only: milliseconds for a hundred runs.
    """
    journals = [file for kind in ("runs", "sweeps") for file in outputs.glob(f"{kind}/*/{event_log.NAME}")]
    return [
        folder
        for folder in (file.parent for file in sorted(journals))
        if not event_log.ended(folder) and not is_locked(folder) and close(folder)
    ]


def left_over(outputs: Path) -> list[Path]:
    """The tracked runs and sweeps that have not been delivered and that nobody writes any more. (A sweep's
    deliverer delivers its jobs.) The dead ones are closed."""
    mark_dead(outputs)
    there = undelivered(outputs)
    jobs = {job for sweep in there for job in jobs_of(sweep)}
    return [each for each in there if each not in jobs and not is_locked(each)]


def attend(outputs: Path) -> None:
    """What a command does that looks at runs: the dead ones are closed, and a process that it does not wait
    for tells the tracker."""
    dead = [folder for folder in mark_dead(outputs) if (folder / TRACKING).exists()]
    if dead:
        with suppress(InputError):  # a log that cannot be written: whoever only looks is not kept from it
            deliver_beside(dead, brisk=False)
