"""A sweep and its jobs, and the note in a run directory that says which job it is.

The launching process exports the sweep in an environment variable, which every job inherits.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from src.common.files import parse_json, read_json, record_schema, write_json
from src.config.schema import semantic_overrides
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import JOB_NOTE, JobNote

SWEEP_ENV = "CHAR_RNN_SWEEP"  # a Sweep as quoted JSON; "" outside a sweep
FIELDS = record_schema(id=str, name=str, keys=list[str], folder=str, total=int, kind=str, began=float)


@dataclass(frozen=True)
class Sweep:
    """A sweep as its jobs know it.

    Attributes:
        id: The parent run's id, or the name of the sweep's directory where there is no parent run yet.
        name: Name in tables and in MLflow.
        keys: Dotted names of the swept keys, in the order typed.
        folder: Directory in which the jobs register their event logs for one sync process; "" where each job
            syncs its own event log.
        total: Number of jobs.
        kind: Word for one job in messages: `job`, or `trial` for a job of a search.
        began: Time of the start, in seconds since 1970.
    """

    id: str
    name: str
    keys: list[str]
    folder: str = ""
    total: int = 0
    kind: str = "job"
    began: float = 0.0

    def export_env(self) -> None:
        """Export the sweep to the processes that this one starts, in the environment variable SWEEP_ENV."""
        os.environ[SWEEP_ENV] = quote(json.dumps(asdict(self)), safe="").replace("~", "%7E")

    @classmethod
    def from_env(cls) -> "Sweep | None":
        """Return the sweep that this process is a job of.

        Returns:
            The exported sweep; None outside a sweep.
        """
        exported = os.environ.get(SWEEP_ENV)
        return cls(**parse_json(unquote(exported), FIELDS)) if exported else None


@dataclass
class Job:
    """One job of a sweep: one combination of its swept values.

    Attributes:
        sweep: The sweep that the job belongs to.
        number: Index of the job in the sweep, from 0.
        overrides: Dotted key to value as text, as Hydra composed them.
        cores: Number of cores that the launcher leaves to the job.
        parallel: Number of jobs that run at the same time; 0 where it is not known, as on a cluster.
        started: Whether a run was created for the job; that run then records how the job ends.
    """

    sweep: Sweep
    number: int
    overrides: dict[str, str]
    cores: int = 1
    parallel: int = 1
    started: bool = False

    @property
    def swept(self) -> dict[str, str]:
        """The overrides that the sweep varies, in the order of its keys."""
        return {key: self.overrides[key] for key in self.sweep.keys if key in self.overrides}

    @property
    def sync_dir(self) -> Path | None:
        """Directory in which the job registers its event log for the sweep's sync process, or None."""
        return Path(self.sweep.folder) if self.sweep.folder else None

    @property
    def name(self) -> str:
        """The swept overrides, `hidden=64 clip=1`; `job 3` where nothing is swept."""
        swept = " ".join(f"{key}={format_value(value)}" for key, value in self.swept.items())
        return swept or f"job {self.number}"

    @property
    def run_name(self) -> str:
        """The name, then the other overrides that affect the result: two sweeps may sweep the same values."""
        spelled = {"True": "true", "False": "false", "None": "null"}  # Hydra's sweeper writes Python's names
        others = {key: value for key, value in self.overrides.items() if key not in self.swept}
        fixed = [f"{key}={spelled.get(value, value)}" for key, value in others.items()]
        return " ".join([self.name, *semantic_overrides(fixed)])

    @property
    def position(self) -> str:
        """Its number and the number of jobs: `job 2/4`, or `trial 3/20` in a search."""
        return f"{self.sweep.kind} {self.number + 1}/{self.sweep.total}"

    def sweep_left(self, share: float) -> float | None:
        """Estimate the time until the end of the sweep from the jobs so far.

        Jobs start in the order of their numbers. In the first round, all are assumed to be as far as this
        one; later, the others that run are assumed to be half done.

        Args:
            share: Completed share of the job's training, 0 to 1.

        Returns:
            Seconds; None where nothing is done yet, or where it is not known which jobs are.
        """
        parallel = min(self.parallel, self.sweep.total)
        later = self.number - (parallel - 1) / 2 + share
        done = parallel * share if self.number < parallel else later
        if not parallel or done <= 0:
            return None
        return (time.time() - self.sweep.began) * max(0.0, self.sweep.total / done - 1)

    def tags(self) -> dict[str, str]:
        """Return the tags that make a run a member of the sweep.

        Returns:
            Tag name to text: the id of the parent run, and the description of the job.
        """
        note = json.dumps(self.describe())
        return {"mlflow.parentRunId": self.sweep.id, SWEEP_TAG_PREFIX + self.sweep.id: note}

    def describe(self) -> dict[str, Any]:
        """Return the note that a run keeps in sweep.json.

        Returns:
            The content of a `JobNote`.
        """
        return {"sweep": self.sweep.id, "number": self.number, "name": self.name, "swept": self.swept}

    def write_job_note(self, folder: Path) -> None:
        """Write the note of the job into a run directory; keep the note of another sweep under another name.

        Args:
            folder: The run directory. The job of an earlier sweep in it counts as reused.
        """
        file = folder / JOB_NOTE
        if file.exists():
            note = read_json(file, JobNote)
            if note["sweep"] != self.sweep.id:
                write_json(folder / f"sweep-{note['sweep']}.json", {**note, "reused": True})
        write_json(file, self.describe())


def format_value(value: str) -> str:
    """Shorten a number with many digits, such as 0.0031622776601683795, to four significant digits.

    Args:
        value: Value of an override as text.

    Returns:
        The shorter text; `value` itself where it is no decimal number or cannot be shortened.
    """
    if "." not in value:
        return value
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return short if len(short) < len(value) else value
