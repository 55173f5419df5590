"""The process that delivers journals beside the one that writes them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from src.common.atomic_io import cannot_write
from src.common.console import say
from src.common.paths import PROJECT

LOG = "sync.log"
Deliverer = subprocess.Popen[bytes]


def deliver_beside(folders: Sequence[Path], brisk: bool) -> Deliverer:
    """Start it for these directories; what goes wrong is told in the first one's sync.log.

    brisk: it may take a share of a busy processor; else it takes only what nothing else wants.

    It ends by itself once everything is delivered, or some seconds after the last process that writes in
    these directories, when the store does not answer.
    """
    try:
        with (folders[0] / LOG).open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "src.sync",
                    *map(str, folders),
                    "--beside",
                    *(["--brisk"] if brisk else []),
                ],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                process_group=0,  # Ctrl-C is for training; what is told must still arrive
            )
    except OSError as error:
        raise cannot_write(folders[0] / LOG, error) from error


def finished(deliverer: Deliverer, folder: Path, uri: str) -> bool:
    """Wait until it ends; True when everything has arrived, else a line says how to deliver it."""
    if deliverer.wait() == 0:
        return True
    say(
        f"tracking.uri: expected a store that answers at {uri}, got none (reasons in {folder / LOG}): "
        f"nothing is lost, deliver it later with python -m src.sync {folder}"
    )
    return False
