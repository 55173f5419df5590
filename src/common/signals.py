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


class Stop:
    """What has been asked for while training."""

    def __init__(self) -> None:
        self.interrupted = False  # by Ctrl-C
        self.terminated = False  # by SIGTERM
        self.impatient = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In here SIGTERM raises Preempted at once: for what takes seconds and leaves nothing half done."""
        self.impatient = True
        try:
            if self.terminated:
                raise Preempted("SIGTERM")
            yield
        finally:
            self.impatient = False


def preempt(number: int, frame: object) -> None:
    raise Preempted("SIGTERM")


@contextmanager
def preemptible() -> Iterator[None]:
    """In here SIGTERM raises Preempted, wherever the program stands."""
    with handled(signal.SIGTERM, preempt):
        yield


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM, for who asks between two steps. Ctrl-C pressed again interrupts at once."""
    stop = Stop()

    def interrupt(number: int, frame: object) -> None:
        stop.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def terminate(number: int, frame: object) -> None:
        stop.terminated = True
        if stop.impatient:
            raise Preempted("SIGTERM")

    with handled(signal.SIGINT, interrupt), handled(signal.SIGTERM, terminate):
        yield stop


@contextmanager
def handled(number: signal.Signals, handler: Callable[[int, Any], None]) -> Iterator[None]:
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
