"""The number of BLAS threads: one in every process, whatever machine, launcher and environment say.

OpenBLAS rounds a product otherwise when it shares it among threads, so that scores would depend on the number
of cores. Parallelism comes from the processes of `workers` alone, each with one BLAS thread.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy  # noqa: F401 (the search finds its BLAS only once it is loaded)
from threadpoolctl import ThreadpoolController


class _Limit:
    """The limit of this process, lifted when its last holder releases it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.limiter: Any = None

    def acquire(self) -> None:
        with self.lock:
            limiter = _controller().limit(limits=1, user_api="blas")  # also after another change
            if self.holders == 0:
                self.limiter = limiter
            self.holders += 1

    def release(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0:
                self.limiter.restore_original_limits()


_LIMIT = _Limit()


@cache
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries once: the search takes milliseconds, setting a limit microseconds."""
    return ThreadpoolController()


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Limit every BLAS library of this process to one thread; a context manager and a decorator.

    It may be nested, and used by several Python threads: the previous number is restored when the last of
    them has left it.
    """
    _LIMIT.acquire()
    try:
        yield
    finally:
        _LIMIT.release()
