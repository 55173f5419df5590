"""Cores, and commands of the project that another one starts and waits for."""

import os
import signal
import subprocess
import sys

from src.common.files import PROJECT

INTERRUPTED = (130, -signal.SIGINT)


def run_module(module: str, *arguments: str) -> int:
    """`python -m module arguments`, what it says on this terminal; its exit status.

    Ctrl-C is for it: it ends as it does by itself, which may take it a while, and then KeyboardInterrupt is
    raised here. Pressed again, it ends at once.
    """
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=PROJECT)
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            if not is_interactive():
                process.send_signal(signal.SIGINT)
    if interrupted or status in INTERRUPTED:
        raise KeyboardInterrupt
    return status


def is_interactive() -> bool:
    """Whether Ctrl-C comes from a terminal, which tells every process in front of it."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # standard input is none
        return False


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def max_parallel_jobs(n_jobs: int) -> int:
    """How many jobs joblib runs side by side: n_jobs, of -1 one for each core, of -2 one fewer, ..."""
    return n_jobs if n_jobs > 0 else max(1, available_cores() + 1 + n_jobs)
