"""The jobs of a sweep where they are kept, in MLflow or in directories: read and refused."""

from pathlib import Path

from src.common.atomic_io import write_json
from src.common.job_result import Row
from src.common.paths import absolute
from src.config.schema import Config, PlacesConfig
from src.config.validation import flatten
from src.sweeps.sweep import Job, Sweep
from src.tracking.run import Run
from src.tracking.run_record import JOB_NOTE
from src.tracking.run_store import open_store


def rows_of(sweep: Sweep, config: PlacesConfig) -> list[Row]:
    """A row for each of the sweep's jobs, in the order of their numbers."""
    return open_store(config).job_results(sweep.id)


def record_refusal(config: PlacesConfig, job: Job, reason: str) -> None:
    """A run for a job that never came to training: FAILED, with the reason."""
    record = Run(config, sweep=job.entered)
    write_json(record.folder / JOB_NOTE, job.describe())
    params = flatten(config) if isinstance(config, Config) else dict(job.overrides)
    record.start(job.name, params, {"stage": "train", **job.tags()}, data=None, busy_cores=0)
    record.end("FAILED", reason)


def folder_of(config: PlacesConfig, sweep: Sweep) -> Path:
    """Where the sweep's own files are."""
    return absolute(config.output_dir) / "sweeps" / sweep.id
