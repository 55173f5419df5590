"""Processor cores, and commands of the project that another command starts."""

import os
import signal
import subprocess
import sys

from src.common.files import PROJECT

INTERRUPTED = (130, -signal.SIGINT)


def run_module(module: str, *arguments: str) -> int:
    """Run `python -m module arguments` on this terminal; return its exit status.

    Ctrl-C is passed on to it; once it has ended, which may take a while, KeyboardInterrupt is raised here. A
    second Ctrl-C ends it at once.
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
    """Return whether Ctrl-C comes from a terminal, which sends it to every foreground process."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # standard input is none
        return False


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def max_parallel_jobs(n_jobs: int) -> int:
    """Return how many jobs joblib runs in parallel: n_jobs; for -1 one per core, for -2 one fewer, ..."""
    return n_jobs if n_jobs > 0 else max(1, available_cores() + 1 + n_jobs)
