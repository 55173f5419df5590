"""Ctrl-C and SIGTERM while training: they are noted, and training ends between two steps.

Ctrl-C (SIGINT) is a person who has seen enough: training ends and what it learned is scored. SIGTERM is a
cluster that takes the machine away: there are seconds for a checkpoint and nothing else.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Preempted(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no Exception: no sweep goes on behind it."""


class StopFlags:
    """What has been asked for while training."""

    def __init__(self) -> None:
        self.interrupted = False  # by Ctrl-C
        self.terminated = False  # by SIGTERM
        self.raise_immediately = False

    @contextmanager
    def raise_on_signal(self) -> Iterator[None]:
        """In here SIGTERM raises Preempted at once: for what takes seconds and leaves nothing half done."""
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
    """In here SIGTERM raises Preempted, wherever the program stands."""
    with signal_handler(signal.SIGTERM, preempt):
        yield


@contextmanager
def interruptible() -> Iterator[StopFlags]:
    """Note Ctrl-C and SIGTERM, for who asks between two steps. Ctrl-C pressed again interrupts at once."""
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
