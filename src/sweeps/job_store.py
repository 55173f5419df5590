"""The jobs of a sweep where they are kept, in MLflow or in directories: read, reused, refused."""

import json
from pathlib import Path

from src.common.atomic_io import write_json
from src.common.job_result import CUT_SHORT, Row
from src.common.paths import absolute
from src.config.schema import Config, PlacesConfig
from src.config.validation import flatten
from src.sweeps.sweep import Job, Sweep
from src.tracking.run import MEMBER, Run, store_of
from src.tracking.run_record import local_row, local_rows


def rows_of(sweep: Sweep, config: PlacesConfig) -> list[Row]:
    """A row for each of the sweep's jobs, in the order of their numbers."""
    if config.tracking.name == "none":
        return local_rows(absolute(config.output_dir) / "runs", sweep.id)
    from src.tracking import mlflow_store

    return mlflow_store.rows(store_of(config)["uri"], config.tracking.experiment, sweep.id)


def record_refusal(config: PlacesConfig, job: Job, reason: str) -> None:
    """A run for a job that never came to training: FAILED, with the reason."""
    record = Run(config, sweep=job.entered)
    write_json(record.folder / "sweep.json", job.describe())
    params = flatten(config) if isinstance(config, Config) else dict(job.overrides)
    record.start(job.name, params, {"stage": "train", **job.tags()}, data=None, busy_cores=0)
    record.end("FAILED", reason)


def find_finished(config: Config, digest: str) -> tuple[str, dict[str, float]] | None:
    """The id and the metrics of a FINISHED run of the same job, if there is one."""
    if config.tracking.name == "none":
        for file in sorted((absolute(config.output_dir) / "runs").glob("*/scores.json"), reverse=True):
            scores = json.loads(file.read_text(encoding="utf-8"))
            if scores.get("job_digest") == digest:
                told = {"name": "", "number": 0, "swept": {}}
                row = local_row(file.parent, told)
                if row.status == "FINISHED" and row.reason not in CUT_SHORT:
                    return row.run_id, row.metrics
        return None
    from src.tracking import mlflow_store

    return mlflow_store.find_finished(store_of(config)["uri"], config.tracking.experiment, digest)


def reuse(config: Config, job: Job, run_id: str) -> None:
    """Make a finished run a member of this sweep, too."""
    if config.tracking.name == "none":
        folder = absolute(config.output_dir) / "runs" / run_id
        write_json(folder / f"sweep-{job.sweep.id}.json", {**job.describe(), "reused": True})
        return
    from src.tracking import mlflow_store

    mlflow_store.adopt(store_of(config)["uri"], run_id, MEMBER + job.sweep.id, json.dumps(job.describe()))


def folder_of(config: PlacesConfig, sweep: Sweep) -> Path:
    """Where the sweep's own files are."""
    return absolute(config.output_dir) / "sweeps" / sweep.id
