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

_lock = threading.Lock()
_limits: list[Any] = []  # one for each holder; that of the first knows the number of before


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
    with _lock:
        _limits.append(_controller().limit(limits=1, user_api="blas"))  # also after another change
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()
