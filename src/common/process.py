"""Processes: their cores, BLAS threads and signals, and commands that another command starts.

Ctrl-C and SIGTERM set flags while training, which ends between two steps. After Ctrl-C (SIGINT) its weights
are evaluated. After SIGTERM, which a cluster sends before it takes the machine away, there are seconds for a
checkpoint and nothing else.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from src.common.files import PROJECT

INTERRUPTED = (130, -signal.SIGINT)
_lock = threading.Lock()
_limits: list[Any] = []  # of BLAS threads, one for each holder; that of the first knows the number of before


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


@cache
def _controller() -> Any:
    """Find the BLAS libraries once: the search takes milliseconds, setting a limit microseconds."""
    import numpy  # noqa: F401 (the search finds its BLAS only once it is loaded)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit every BLAS library of this process to one thread; a context manager and a decorator.

    OpenBLAS rounds a product otherwise when it shares it among threads, so that scores would depend on the
    number of cores. Parallelism comes from the processes of `workers` alone.

    It may be nested, and used by several Python threads: the previous number is restored when the last of
    them has left it.
    """
    with _lock:
        _limits.append(_controller().limit(limits=1, user_api="blas"))  # also after another change
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


class Preempted(BaseException):
    """Raised on SIGTERM. Like KeyboardInterrupt it is no Exception: no sweep continues after it."""


class StopFlags:
    """The signals that have arrived while training."""

    def __init__(self) -> None:
        self.interrupted = False  # by Ctrl-C
        self.terminated = False  # by SIGTERM
        self.raise_immediately = False

    @contextmanager
    def raise_on_signal(self) -> Iterator[None]:
        """Raise Preempted at once on SIGTERM: for work that takes seconds and has no side effects."""
        self.raise_immediately = True
        try:
            if self.terminated:
                raise Preempted("SIGTERM")
            yield
        finally:
            self.raise_immediately = False


def preempt(number: int, frame: object) -> None:
    raise Preempted("SIGTERM")


@contextmanager
def preemptible() -> Iterator[None]:
    """Raise Preempted on SIGTERM, wherever the program is."""
    with signal_handler(signal.SIGTERM, preempt):
        yield


@contextmanager
def interruptible() -> Iterator[StopFlags]:
    """Set flags on Ctrl-C and SIGTERM, to be read between two steps. A second Ctrl-C interrupts at once."""
    stop = StopFlags()

    def interrupt(number: int, frame: object) -> None:
        stop.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def terminate(number: int, frame: object) -> None:
        stop.terminated = True
        if stop.raise_immediately:
            raise Preempted("SIGTERM")

    with signal_handler(signal.SIGINT, interrupt), signal_handler(signal.SIGTERM, terminate):
        yield stop


@contextmanager
def signal_handler(number: signal.Signals, handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `handler` take a signal; only the main thread can, and only from Python's own handlers or ours.

    Another's handler of SIGTERM stays: submitit's lets it pass, because the cluster's own signal, which puts
    the job back into the queue, comes next to it.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler, preempt)
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) not in usual:
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
