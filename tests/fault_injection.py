"""A training run that kills itself: `python tests/fault_injection.py PLACE COUNT [key=value ...]`.

Runs `python -m src.train key=value ...` with SIGKILL at one place (PLACES), or with a signal (SIGNALS) or the
death of a worker before a gradient. COUNT is the number of the call, or the milliseconds of training.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.cli.main import run_command
from src.tracking.event_log import EventLog
from src.train import main
from src.training import checkpoint
from src.training.data_parallel import DataParallel

IN_A_CHECKPOINT = ("half a checkpoint", "checkpoint not renamed", "checkpoint renamed")
PLACES = (*IN_A_CHECKPOINT, "gradient", "half a line", "time")
SIGNALS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}  # to the whole process group


def die() -> None:
    """Kill the process and its workers."""
    os.killpg(0, signal.SIGKILL)


def kill_worker() -> None:
    """Kill a worker, like the kernel when memory is exhausted."""
    (worker,) = multiprocessing.active_children()
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)


def nth_call(count: int, function: Callable[..., Any], action: Callable[..., None]) -> Callable[..., Any]:
    """Return `function` with its count-th call replaced by `action`."""
    calls = [0]

    def call(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == count:
            action(*arguments)
        return function(*arguments)

    return call


def replace_method(owner: type, name: str, function: Callable[..., Any]) -> None:
    """Replace a method of a class."""
    setattr(owner, name, function)


def truncate_checkpoint(temporary: Path) -> None:
    os.truncate(temporary, temporary.stat().st_size // 2)
    die()


def write_half_line(event_log: EventLog, kind: str, **fields: Any) -> None:
    event_log.file.write(f'{{"kind": "{kind}", "st'.encode())
    event_log.file.flush()
    die()


def install(place: str, count: int) -> None:
    """Install the fault."""
    fsync, compute = checkpoint.fsync_path, DataParallel.loss_and_gradient

    def before_gradient(action: Callable[[], None]) -> None:
        call = nth_call(count, compute, lambda *arguments: action())
        replace_method(DataParallel, "loss_and_gradient", call)

    match place:
        case "half a checkpoint":  # fsync_path is called twice: for the file and for the directory
            checkpoint.fsync_path = nth_call(2 * count - 1, fsync, truncate_checkpoint)
        case "checkpoint not renamed":
            checkpoint.fsync_path = nth_call(2 * count - 1, fsync, lambda path: die())
        case "checkpoint renamed":
            checkpoint.fsync_path = nth_call(2 * count, fsync, lambda path: die())
        case "gradient":
            before_gradient(die)
        case "worker":
            before_gradient(kill_worker)
        case "Ctrl-C" | "SIGTERM":
            before_gradient(lambda: os.killpg(0, SIGNALS[place]))
        case "half a line":
            append, calls = EventLog.append, [0]

            def append_or_die(event_log: EventLog, kind: str, **fields: Any) -> None:
                calls[0] += kind == "metrics"
                if calls[0] == count:
                    write_half_line(event_log, kind, **fields)
                append(event_log, kind, **fields)

            replace_method(EventLog, "append", append_or_die)
        case "time":
            timer = threading.Timer(count / 1000, die)
            timer.daemon = True
            replace_method(
                DataParallel, "loss_and_gradient", nth_call(1, compute, lambda *arguments: timer.start())
            )
        case _:
            sys.exit(f"expected one of {PLACES}, got {place}")


if __name__ == "__main__":
    os.setpgid(0, 0)  # its signals do not reach the process that started it
    install(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    run_command("train", "config", main)
