"""A Hydra callback that records the state of a process before each job (for test_sweep.py)."""

import gc
import hashlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from tests.commands import TIME_LIMIT


class JobStateCallback(Callback):
    """Records states in `folder`; the first `num_processes` jobs wait for each other, so each has its own
    process."""

    def __init__(self, folder: str, num_processes: int) -> None:
        self.folder, self.num_processes = Path(folder), num_processes

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        job = int(config.hydra.job.num)
        gc.collect()  # unreferenced objects are no leak
        (self.folder / f"{job}.json").write_text(json.dumps({"job": job, **state()}))
        deadline = time.monotonic() + TIME_LIMIT
        while len(list(self.folder.glob("*.json"))) < self.num_processes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected {self.num_processes} processes at once")
            time.sleep(0.02)


def state() -> dict[str, Any]:
    """Return the process state that one job could change for the next. Files and children need /proc."""
    pid = os.getpid()
    return {
        "pid": pid,
        # threadpoolctl sets this variable.
        "environment": {k: v for k, v in os.environ.items() if k != "KMP_DUPLICATE_LIB_OK"},
        "directory": os.getcwd(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": sorted(filter(None, map(open_file, Path(f"/proc/{pid}/fd").glob("*")))),
        "children": children(pid),
        "handlers": {name: h for name in ("", *logging.root.manager.loggerDict) if (h := handlers(name))},
        "level": logging.root.level,
        "numpy_generator": global_generator(),
        "numpy_errors": np.geterr(),
        "mlflow_imported": "mlflow" in sys.modules,
    }


def global_generator() -> str:
    state_repr = repr(np.random.get_state(legacy=False))  # noqa: NPY002  (it must stay unused)
    return hashlib.sha256(state_repr.encode()).hexdigest()


def open_file(descriptor: Path) -> str | None:
    """Return the path of an open file, except files of packages, pipes, sockets and standard streams."""
    if descriptor.name in ("0", "1", "2"):
        return None
    try:
        target = os.readlink(descriptor)
    except FileNotFoundError:  # the descriptor of the listing itself
        return None
    excluded = ("/dev/", "/memfd", "/usr/share/fonts/", os.path.realpath(sys.prefix))
    return target if target.startswith("/") and not target.startswith(excluded) else None


def handlers(name: str) -> list[str]:
    return [repr(handler) for handler in logging.getLogger(name).handlers]


def children(parent: int) -> list[str]:
    """Return the command lines of the running child processes."""
    found = []
    for folder in Path("/proc").glob("*"):
        try:
            if folder.name.isdigit() and parent_of(folder) == parent:
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        except (FileNotFoundError, ProcessLookupError):  # the process has ended
            continue
    return sorted(found)


def parent_of(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
