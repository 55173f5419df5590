"""`python -m src.sync DIRECTORY ...`, or `python -m src.sync all`: journals, delivered to MLflow.

A directory is that of a run (outputs/runs/...), of a sweep (outputs/sweeps/...) with all of its jobs, or an
outputs folder with everything in it that has not arrived. Runs and sweeps start this process beside
themselves (`--beside`), at low priority, so that tracking takes only the processor time that training leaves
over; a person starts it for what a tracker out of reach has missed.
"""

import gc
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from src.common.console import say
from src.common.errors import InputError
from src.common.file_lock import is_locked
from src.common.paths import PROJECT
from src.tracking import event_log
from src.tracking.stale_runs import left_over
from src.tracking.sync_queue import jobs_of
from src.tracking.sync_state import TRACKING, Delivered

PATIENCE = 10.0  # seconds for a store that does not answer when training is over
HANDED_OVER = 60.0  # seconds for the deliverer of the same run, resumed, to end
OPTIONS = ("--beside", "--brisk")
NICE = 5  # --brisk: enough to keep up beside jobs that keep every core busy


def give_way(brisk: bool) -> None:
    """Run when nothing else wants the processor; brisk: take a small share all the same.

    So does the delivery of a sweep, or what is left over would be waited for at its end, and that of a run
    whose training is over: what it would give way to then is no longer its own run.
    """
    os.nice(NICE if brisk else 19)
    if not brisk and hasattr(os, "SCHED_IDLE"):  # Linux: a process that wakes up is never kept waiting
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def directories(arguments: list[str]) -> list[Path]:
    """The runs and sweeps to deliver. Raises InputError for what is none."""
    found: list[Path] = []
    for given in arguments or ["all"]:
        folder = PROJECT / "outputs" if given == "all" else Path(given).absolute()
        if (folder / TRACKING).exists() and (folder / event_log.NAME).exists():
            found.append(folder)
        elif given == "all" or (folder / "runs").is_dir():
            found += left_over(folder)
        else:
            raise InputError(
                "expected all, an outputs folder, or the directory of a tracked run or sweep "
                f"(outputs/runs/..., outputs/sweeps/...), got {given}"
            )
    return found


def main(arguments: list[str]) -> int:
    """Deliver what is named; 2 for bad input and for a store that does not answer, else 0."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    beside = "--beside" in arguments
    if beside:
        give_way("--brisk" in arguments)
    warnings.filterwarnings("ignore")  # MLflow's own, about its own dependencies
    try:
        if unknown := [a for a in arguments if a.startswith("-") and a not in OPTIONS]:
            raise InputError(f"expected all or directories, got the option {unknown[0]}")
        folders = directories([a for a in arguments if a not in OPTIONS])
        if beside:
            watch(folders)
        else:
            for folder in folders:
                watch([folder], patience=0, handed_over=0)
                print(f"delivered {folder} to {store_of(folder)['uri']}: run={Delivered.of(folder).run_id}")
    except InputError as error:
        say(f"sync: {error}")
        return 2
    if not folders:
        print("everything has been delivered")
    return 0


def store_of(folder: Path) -> dict[str, str]:
    """`uri` of the tracker, `artifacts` and, of a job, `sweep`, as the run wrote them down."""
    try:
        told = json.loads((folder / TRACKING).read_text(encoding="utf-8"))
        return {"uri": told["uri"], "artifacts": told["artifacts"], **told}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected a whole {TRACKING}, got a damaged one in {folder} ({error})") from error


def watch(folders: list[Path], patience: float = PATIENCE, handed_over: float = HANDED_OVER) -> None:
    """Deliver these, and the jobs of those that are sweeps as they begin, to their ends."""
    gc.disable()  # what MLflow's import makes stays; looking through it for garbage is a fifth of the time
    from src.tracking.sync import Following, follow  # slow to import

    gc.freeze()
    gc.enable()
    known: set[Path] = set()

    def following(folder: Path) -> Any:
        known.add(folder)
        return Following(folder, store_of(folder), handed_over, lambda: jobs_of(folder))

    def begun() -> list[Any]:
        return [following(job) for folder in folders for job in jobs_of(folder) if job not in known]

    follow([following(folder) for folder in folders], written, patience, begun)


def written(folder: Path) -> bool:
    """Whether there is more to come from the process that works in a directory."""
    return is_locked(folder) and event_log.last_kind(folder) != "closing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
