"""`python -m src.sync all | DIRECTORY ...`: upload event logs to MLflow.

A DIRECTORY is a run (outputs/runs/...), a sweep (outputs/sweeps/...), which is uploaded with its jobs, or an
outputs folder, of which every run and sweep is uploaded that is not in MLflow yet; `all` is the project's
outputs/. Runs and sweeps start this command in the background. Run it yourself for runs that were logged
while MLflow was unreachable.
"""

import argparse
import gc
import os
import sys
import warnings
from pathlib import Path

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import PROJECT
from src.tracking import event_log
from src.tracking.sync_state import TRACKING, SyncState, load_store, pending_sync

RETRY_TIMEOUT = 10.0  # seconds to retry an unreachable store when no run is active
NICE = 5  # in the background: less than a training, but enough to run if jobs use every core
LOCK_TIMEOUT = 60.0  # seconds to wait for the previous sync process of a resumed run


def resolve_directories(arguments: list[str]) -> list[Path]:
    """Find the directories of runs and sweeps that the arguments name.

    Args:
        arguments: `all`, outputs folders, and directories of tracked runs and sweeps; empty for `all`.

    Returns:
        The directories to upload: of an outputs folder those that are not completely uploaded.

    Raises:
        UserError: An argument is neither `all`, nor an outputs folder, nor a tracked run or sweep.
    """
    found: list[Path] = []
    for argument in arguments or ["all"]:
        folder = PROJECT / "outputs" if argument == "all" else Path(argument).absolute()
        if (folder / TRACKING).exists() and (folder / event_log.NAME).exists():
            found.append(folder)
        elif argument == "all" or (folder / "runs").is_dir():
            found += pending_sync(folder)
        else:
            raise UserError(
                "expected all, an outputs folder, or the directory of a tracked run or sweep "
                f"(outputs/runs/..., outputs/sweeps/...), got {argument}"
            )
    return found


def sync(folders: list[Path], retry_timeout: float = 0.0, lock_timeout: float = 0.0) -> None:
    """Import MLflow and upload event logs (`src.tracking.sync.sync_all`).

    Args:
        folders: Directories of runs and sweeps.
        retry_timeout: Seconds for which an unreachable store is retried when no run is active; 0 (the
            default) for one attempt.
        lock_timeout: Seconds to wait for another process that uploads one of them; 0 (the default) for no
            wait.

    Raises:
        UserError: The store did not answer in this time, a file is damaged, or another process uploads the
            run.
    """
    gc.disable()  # MLflow's modules are never garbage; collection would take a fifth of the import time
    from src.tracking.sync import sync_all  # slow to import

    gc.freeze()
    gc.enable()
    sync_all(folders, retry_timeout, lock_timeout)


def main(arguments: list[str]) -> int:
    """Run the command, and print errors in one line on standard error.

    Args:
        arguments: Arguments of the command line, without the name of the program.

    Returns:
        Exit status: 0, or 2 for invalid input and for an unreachable store.
    """  # noqa: DOC501 (caught below)
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    parser = argparse.ArgumentParser("python -m src.sync", add_help=False, exit_on_error=False)
    parser.add_argument("directories", nargs="*")
    parser.add_argument("--background", action="store_true")
    warnings.filterwarnings("ignore")  # MLflow's, about its own dependencies
    try:
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            raise UserError(f"expected all or directories, got the option {unknown[0]}")
        folders = resolve_directories(options.directories)
        if options.background:
            os.nice(NICE)
            sync(folders, RETRY_TIMEOUT, LOCK_TIMEOUT)
        else:
            for folder in folders:
                sync([folder])
                uri, run_id = load_store(folder)["uri"], SyncState.load(folder).run_id
                print(f"uploaded {folder} to {uri}: run={run_id}")
    except (UserError, argparse.ArgumentError) as error:
        echo_err(f"sync: {error}")
        return 2
    if not folders:
        print("everything is uploaded")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
