"""A sweep and its jobs, and the note in a run's directory that says which job it is.

The launching process exports the sweep in an environment variable, which every job inherits.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.common.files import parse_json, write_json
from src.sweeps.median_pruner import MedianPruner
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import JOB_NOTE, read_job_note

SWEEP_ENV = "CHAR_RNN_SWEEP"  # a Sweep as quoted JSON; "" outside a sweep


class SweepFields(TypedDict):
    """The fields of a Sweep."""

    id: str
    name: str
    keys: list[str]
    folder: str


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        id: The parent run's id, or the name of the sweep's directory where there is no parent run yet.
        name: Name in tables and in MLflow.
        keys: The swept keys, in the order typed.
        folder: Directory in which the jobs register their event logs for one sync process; "" where each
            job syncs its own.
    """

    id: str
    name: str
    keys: list[str]
    folder: str = ""

    def export_env(self) -> None:
        """Export the sweep to processes that this one starts."""
        os.environ[SWEEP_ENV] = quote(json.dumps(asdict(self)), safe="").replace("~", "%7E")

    @classmethod
    def from_env(cls) -> "Sweep | None":
        """The sweep that this process is a job of, if any."""
        exported = os.environ.get(SWEEP_ENV)
        return cls(**parse_json(unquote(exported), SweepFields)) if exported else None


@dataclass
class Job:
    """One combination of a sweep.

    Attributes:
        sweep: The sweep.
        number: Index of the job, from 0.
        overrides: Key to value, as Hydra made them.
        cores: Cores that the launcher leaves to the job.
        started: Whether a run was created for it, which then records how the job ends.
    """

    sweep: Sweep
    number: int
    overrides: dict[str, str]
    cores: int = 1
    started: bool = False

    @property
    def swept(self) -> dict[str, str]:
        """The overrides that the sweep varies, in its order."""
        return {key: self.overrides[key] for key in self.sweep.keys if key in self.overrides}

    @property
    def sync_dir(self) -> Path | None:
        """Directory in which the job registers its event log for the sweep's sync process, if any."""
        return Path(self.sweep.folder) if self.sweep.folder else None

    @property
    def name(self) -> str:
        """The swept overrides: `hidden=64 clip=1`."""
        return (
            " ".join(f"{key}={format_value(value)}" for key, value in self.swept.items())
            or f"job {self.number}"
        )

    def tags(self) -> dict[str, str]:
        """Tags that make a run a member of the sweep."""
        return {
            "mlflow.parentRunId": self.sweep.id,
            SWEEP_TAG_PREFIX + self.sweep.id: json.dumps(self.describe()),
        }

    def describe(self) -> dict[str, Any]:
        """The note that a run keeps in sweep.json."""
        return {"sweep": self.sweep.id, "number": self.number, "name": self.name, "swept": self.swept}

    def write_job_note(self, folder: Path) -> None:
        """Write the job's note into a run's directory; a note of another sweep stays, as a reused job's."""
        file = folder / JOB_NOTE
        if file.exists():
            note = read_job_note(file)
            if note["sweep"] != self.sweep.id:
                write_json(folder / f"sweep-{note['sweep']}.json", {**note, "reused": True})
        write_json(file, self.describe())

    def pruner(self, runs: Path) -> MedianPruner:
        """Build the pruner, which compares with the finished jobs among the folders of `runs`."""
        return MedianPruner(runs, self.sweep.id)


def format_value(value: str) -> str:
    """Shorten a number with many digits, such as 0.0031622776601683795, to four."""
    if "." not in value:
        return value
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return short if len(short) < len(value) else value
