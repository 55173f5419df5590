"""Deliver a run's journal to MLflow: `python -m src.deliver RUN_DIRECTORY`.

A run starts it beside itself, with the lowest priority, so that tracking takes only the processor time
that training leaves over; a person starts it for a run whose tracker was out of reach.
"""

import json
import os
import sys
import threading
import warnings
from pathlib import Path

from src.errors import InputError


def give_way() -> None:
    """Run only when nothing else wants the processor."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # Linux: stronger, a training process that wakes up is never kept waiting
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def await_end_of_training(gone: threading.Event) -> None:
    """Training holds the other end of our standard input: it closes when training is gone."""
    sys.stdin.buffer.read()
    gone.set()


def read_store(file: Path) -> dict[str, str]:
    """`uri` of the tracker and `artifacts`, as the run wrote them down."""
    try:
        store = json.loads(file.read_text(encoding="utf-8"))
        return {"uri": str(store["uri"]), "artifacts": str(store["artifacts"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"expected a whole tracking.json, got a damaged one in {file.parent} ({error})"
        ) from error


def main(arguments: list[str]) -> int:
    beside = "--beside" in arguments
    folders = [Path(a) for a in arguments if a != "--beside"]
    if len(folders) != 1 or not (folders[0] / "tracking.json").exists():
        got = ", ".join(map(str, folders)) or "nothing"
        print(
            f"deliver: expected the directory of one tracked run (outputs/runs/...), got {got}",
            file=sys.stderr,
        )
        return 2
    folder = folders[0]
    gone = threading.Event()
    if beside:
        give_way()
        threading.Thread(target=await_end_of_training, args=(gone,), daemon=True).start()
    else:
        gone.set()
    warnings.filterwarnings("ignore")  # MLflow's own, about its own dependencies
    from src.lab import tracking  # slow to import

    try:
        store = read_store(folder / "tracking.json")
        done = tracking.deliver(folder, store["uri"], store["artifacts"], lambda: not gone.is_set())
    except InputError as error:
        print(f"deliver: {error}", file=sys.stderr)
        return 2
    if not beside:
        print(f"delivered {folder} to {store['uri']}: run={done.run_id}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
