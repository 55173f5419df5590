"""Processes: their cores, BLAS threads and signals, and commands that another command starts.

During training, Ctrl-C and SIGTERM only set flags, and training ends between two steps. After Ctrl-C (SIGINT)
the weights are evaluated. A cluster sends SIGTERM before it takes the machine away: the remaining seconds are
enough only for a checkpoint.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from src.common.files import PROJECT

INTERRUPTED = (130, -signal.SIGINT)
_lock = threading.Lock()
_limits: list[Any] = []  # limits of BLAS threads, one per holder; the first stores the original number


def run_module(module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> int:
    """Run `python -m module arguments` on this terminal and wait for its end.

    Ctrl-C is passed on to the process. A second Ctrl-C ends it at once.

    Args:
        module: Dotted name of the module, like `src.train`.
        *arguments: Arguments of the command line.
        environ: Environment variables in addition to those of this process; None (the default) for no more.

    Returns:
        The exit status; negative for the number of the signal that ended the process.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; raised after the process has ended, which may take a while.
    """
    extended = {**os.environ, **(environ or {})}
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=PROJECT, env=extended)
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
    """Return whether Ctrl-C comes from a terminal, which sends it to every foreground process.

    Returns:
        True if standard input is a terminal whose foreground process group contains this process.
    """
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # standard input is not a terminal
        return False


def available_cores() -> int:
    """Return the number of cores that this process may use.

    Returns:
        Size of the CPU affinity set; the number of cores of the machine where the system has no such set.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def max_parallel_jobs(n_jobs: int) -> int:
    """Return how many jobs joblib runs in parallel.

    Args:
        n_jobs: joblib's setting: a positive number of jobs; -1 for one job per core, -2 for one fewer, and so
            on.

    Returns:
        The number of jobs, at least 1.
    """
    return n_jobs if n_jobs > 0 else max(1, available_cores() + 1 + n_jobs)


@cache
def _controller() -> Any:
    """Return the controller of the BLAS libraries, built once: the search takes milliseconds."""
    import numpy  # noqa: F401 (the search finds NumPy's BLAS only after its import)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit every BLAS library of this process to one thread; a context manager and a decorator.

    OpenBLAS rounds a product differently when it shares it among threads, so scores would depend on the
    number of cores. Parallelism comes only from the processes of `workers`.

    It may be nested and used by several Python threads: the previous number of threads is restored when the
    last of them has left the context.

    Yields:
        Nothing; the limit holds while the context lasts.
    """
    with _lock:
        _limits.append(_controller().limit(limits=1, user_api="blas"))  # other code may have changed it
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


class Preempted(BaseException):
    """End of the process by SIGTERM.

    Like KeyboardInterrupt it is not an `Exception`, so that no sweep continues after it.
    """


class StopFlags:
    """Signals that have arrived during training.

    Attributes:
        interrupted: Whether Ctrl-C has arrived.
        terminated: Whether SIGTERM has arrived.
        raise_immediately: Whether SIGTERM raises Preempted at once (`raise_on_signal`).
    """

    def __init__(self) -> None:
        self.interrupted = False  # by Ctrl-C
        self.terminated = False  # by SIGTERM
        self.raise_immediately = False

    @contextmanager
    def raise_on_signal(self) -> Iterator[None]:
        """Raise Preempted at once on SIGTERM: for work that takes seconds and has no side effects.

        Yields:
            Nothing; when the context ends, SIGTERM only sets the flag again.

        Raises:
            Preempted: SIGTERM has arrived before, or arrives while the context lasts.
        """
        self.raise_immediately = True
        try:
            if self.terminated:
                raise Preempted("SIGTERM")
            yield
        finally:
            self.raise_immediately = False


def preempt(number: int, frame: object) -> None:
    """Raise Preempted: the handler of SIGTERM outside of training steps.

    Args:
        number: Number of the signal; Python passes it to every handler.
        frame: Interrupted stack frame; Python passes it to every handler.

    Raises:
        Preempted: Always.
    """
    raise Preempted("SIGTERM")


@contextmanager
def preemptible() -> Iterator[None]:
    """Raise Preempted on SIGTERM at any point of the context.

    Yields:
        Nothing; the previous handler is restored when the context ends.
    """
    with signal_handler(signal.SIGTERM, preempt):
        yield


@contextmanager
def interruptible() -> Iterator[StopFlags]:
    """Set flags on Ctrl-C and SIGTERM, to be read between two steps. A second Ctrl-C interrupts at once.

    Yields:
        The flags, which the signal handlers set.

    Raises:
        Preempted: SIGTERM arrives while `StopFlags.raise_on_signal` is active.
    """
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
    """Handle a signal with `handler` while the context lasts, if it has no foreign handler.

    Only the main thread can set a handler. A handler that is neither Python's own nor `preempt` stays: that
    of submitit lets SIGTERM pass because the cluster's own signal, which puts the job back into the queue,
    follows it.

    Args:
        number: The signal.
        handler: Function that receives the number of the signal and the interrupted stack frame.

    Yields:
        Nothing; the previous handler is restored when the context ends.
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
