"""The background process that uploads event logs to MLflow."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from src.common.atomic_io import write_error
from src.common.console import echo_err
from src.common.paths import PROJECT

LOG = "sync.log"
IDLE = 19  # niceness: use only processor time that nothing else wants
SHARE = 5  # niceness: keep up with jobs that keep every core busy
SyncProcess = subprocess.Popen[bytes]


def start_background_sync(folders: Sequence[Path], nice: int = IDLE) -> SyncProcess:
    """Start `python -m src.sync` for the directories of runs and sweeps.

    It ends once everything is uploaded, or, when MLflow is unreachable, some seconds after the last run.

    Args:
        folders: The directories; errors are written to sync.log of the first.
        nice: Niceness of the process.

    Raises:
        UserError: The log cannot be written.
    """
    command = [sys.executable, "-m", "src.sync", *map(str, folders), "--background", "--nice", str(nice)]
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
        f"stored locally; upload it with: python -m src.sync {folder}"
    )
    return False
