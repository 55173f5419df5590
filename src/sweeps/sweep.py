"""A sweep and its jobs, as their processes know of them, and the note in a run's directory that it is a job.

The launching process announces the sweep; the jobs, in whichever process and on whichever machine, learn of
it through an environment variable. It is opened and closed in src/sweeps/.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from src.common.atomic_io import write_json
from src.sweeps.median_pruner import MedianPruner
from src.tracking.run import MEMBER
from src.tracking.run_record import JOB_NOTE, read_job_note

VARIABLE = "CHAR_RNN_SWEEP"  # what the jobs inherit: a Sweep as quoted JSON; "" outside a sweep


@dataclass(frozen=True)
class Sweep:
    """id: of the parent run; a name of its own with tracking=none, and where the parent is delivered later.
    keys: what is swept, as ordered there. folder: where its jobs enter their journals, which one process
    delivers; "" where each job delivers its own."""

    id: str
    name: str
    keys: list[str]
    folder: str = ""

    def announce(self) -> None:
        """Let processes that this one starts know of it."""
        os.environ[VARIABLE] = quote(json.dumps(asdict(self)), safe="").replace("~", "%7E")

    @classmethod
    def announced(cls) -> "Sweep | None":
        """The sweep that this process works for, if any."""
        told = os.environ.get(VARIABLE)
        return cls(**json.loads(unquote(told))) if told else None


@dataclass
class Job:
    """One combination of a sweep. overrides: key to value, as Hydra made them. opened: whether a run has been
    begun for it, which then says itself how it ended."""

    sweep: Sweep
    number: int
    overrides: dict[str, str]
    opened: bool = False

    @property
    def swept(self) -> dict[str, str]:
        """Those of the overrides that the sweep varies, in its order."""
        return {key: self.overrides[key] for key in self.sweep.keys if key in self.overrides}

    @property
    def entered(self) -> Path | None:
        """The directory in which this job's journal is entered for delivery, if any."""
        return Path(self.sweep.folder) if self.sweep.folder else None

    @property
    def name(self) -> str:
        """What tells it from the sweep's other jobs: `hidden=64 clip=1`."""
        return (
            " ".join(f"{key}={shorter(value)}" for key, value in self.swept.items()) or f"job {self.number}"
        )

    def tags(self) -> dict[str, str]:
        """What marks a run as this job's."""
        return {
            "mlflow.parentRunId": self.sweep.id,
            MEMBER + self.sweep.id: json.dumps(self.describe()),
        }

    def describe(self) -> dict[str, Any]:
        """As a run keeps it."""
        return {"sweep": self.sweep.id, "number": self.number, "name": self.name, "swept": self.swept}

    def join(self, folder: Path) -> None:
        """Note in a run's directory whose job it is. The sweep for which it was begun, if it was another,
        keeps it as a job that was reused."""
        file = folder / JOB_NOTE
        if file.exists():
            note = read_job_note(file)
            if note["sweep"] != self.sweep.id:
                write_json(folder / f"sweep-{note['sweep']}.json", {**note, "reused": True})
        write_json(file, self.describe())

    def pruner(self, runs: Path) -> MedianPruner:
        """Build the pruner, which compares with the finished jobs among the folders of `runs`."""
        return MedianPruner(runs, self.sweep.id)


def shorter(value: str) -> str:
    """A value as a person reads it: of a drawn number like 0.0031622776601683795 four digits."""
    if "." not in value:
        return value
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return short if len(short) < len(value) else value
