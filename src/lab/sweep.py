"""A sweep as one thing: a parent run, a child for each job, and at the end what came out of all of them.

The launching process opens the sweep and closes it; the jobs, in whichever process and on whichever machine,
learn of it through an environment variable. With tracking=none the sweep is the directories of its jobs.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from src.checks import flatten
from src.config import Config, PlacesConfig
from src.files import write_json
from src.lab.code_digest import code_digest
from src.lab.rundir import Run, absolute, store_of
from src.lab.sweep_rows import CUT_SHORT, Row, local_row, local_rows

VARIABLE = "CHAR_RNN_SWEEP"  # what the jobs inherit: a Sweep as quoted JSON; "" outside a sweep
MEMBER = "sweep."  # + the parent's id: tag of every run that belongs to a sweep; Job.describe() as JSON


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


def shorter(value: str) -> str:
    """A value as a person reads it: of a drawn number like 0.0031622776601683795 four digits."""
    if "." not in value:
        return value
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return short if len(short) < len(value) else value


def rows_of(sweep: Sweep, config: PlacesConfig) -> list[Row]:
    """A row for each of the sweep's jobs, in the order of their numbers."""
    if config.tracking.name == "none":
        return local_rows(absolute(config.outputs) / "runs", sweep.id)
    from src.lab import sweep_store

    return sweep_store.rows(store_of(config)["uri"], config.tracking.experiment, sweep.id)


def record_refusal(config: PlacesConfig, job: Job, reason: str) -> None:
    """A run for a job that never came to training: FAILED, with the reason."""
    record = Run(config, sweep=job.entered)
    write_json(record.folder / "sweep.json", job.describe())
    params = flatten(config) if isinstance(config, Config) else dict(job.overrides)
    record.start(job.name, params, {"stage": "train", **job.tags()}, data=None, busy_cores=0)
    record.end("FAILED", reason)


def job_digest(config: Config, corpus_digest: str) -> str:
    """What makes two jobs the same: config, data and code."""
    import hashlib

    told = json.dumps([flatten(config), corpus_digest, code_digest()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def find_finished(config: Config, digest: str) -> tuple[str, dict[str, float]] | None:
    """The id and the metrics of a FINISHED run of the same job, if there is one."""
    if config.tracking.name == "none":
        for file in sorted((absolute(config.outputs) / "runs").glob("*/scores.json"), reverse=True):
            scores = json.loads(file.read_text(encoding="utf-8"))
            if scores.get("job_digest") == digest:
                told = {"name": "", "number": 0, "swept": {}}
                row = local_row(file.parent, told)
                if row.status == "FINISHED" and row.reason not in CUT_SHORT:
                    return row.run_id, row.metrics
        return None
    from src.lab import sweep_store

    return sweep_store.find_finished(store_of(config)["uri"], config.tracking.experiment, digest)


def reuse(config: Config, job: Job, run_id: str) -> None:
    """Make a finished run a member of this sweep, too."""
    if config.tracking.name == "none":
        folder = absolute(config.outputs) / "runs" / run_id
        write_json(folder / f"sweep-{job.sweep.id}.json", {**job.describe(), "reused": True})
        return
    from src.lab import sweep_store

    sweep_store.adopt(store_of(config)["uri"], run_id, MEMBER + job.sweep.id, json.dumps(job.describe()))


def join(folder: Path, job: Job) -> None:
    """Note in a run's directory whose job it is. The sweep for which it was begun, if it was another, keeps
    it as a job that was reused."""
    file = folder / "sweep.json"
    if file.exists():
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["sweep"] != job.sweep.id:
            write_json(folder / f"sweep-{told['sweep']}.json", {**told, "reused": True})
    write_json(file, job.describe())


def folder_of(config: PlacesConfig, sweep: Sweep) -> Path:
    """Where the sweep's own files are."""
    return absolute(config.outputs) / "sweeps" / sweep.id
