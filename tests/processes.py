"""Commands in the background, and waiting for a state."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.commands import PROJECT, TIME_LIMIT, environ


def start(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start `python -m ARGUMENTS` in a new process group; options are those of subprocess.Popen."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        **{"cwd": PROJECT, "env": environ(), "text": True, "start_new_session": True, **pipes, **options},
    )


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait for a condition while the process runs."""
    deadline = time.monotonic() + TIME_LIMIT
    while not condition() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert condition(), f"exit status {process.poll()}"
