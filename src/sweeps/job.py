"""One job of a sweep: trained, replaced by a finished run of the same config, or recorded as failed."""

import sys
import traceback

import attrs
from hydra.core.hydra_config import HydraConfig

from src.common.console import echo, echo_err, job_scope
from src.common.files import write_json
from src.config.schema import Config, PathsConfig, flatten
from src.runner import prepare, run
from src.sweeps.launchers import cores_per_job, parallel_jobs
from src.tracking.environment import job_digest
from src.tracking.run import Run
from src.tracking.run_record import JOB_NOTE
from src.tracking.run_store import open_store
from src.tracking.sweep import Job, Sweep
from src.training.resume import find_interrupted


def current_job() -> Job | None:
    """Return the job that Hydra runs in this process.

    Returns:
        The job with its overrides and cores; None outside a sweep.
    """
    hydra, sweep = HydraConfig.get(), Sweep.from_env()
    if sweep is None:
        return None
    pairs = [text.lstrip("+").partition("=") for text in hydra.overrides.task]
    overrides = {key: value for key, _, value in pairs}
    cores, parallel = cores_per_job(hydra.launcher), parallel_jobs(hydra.launcher)
    return Job(sweep, int(hydra.job.num), overrides, cores, parallel)


def run_job(config: Config, job: Job) -> float | list[float]:
    """Train a job and return its objective value, or a list of them where several are configured.

    With `skip_finished=true` a finished run with the same config, data and code replaces the job, and an
    interrupted one is resumed. `workers` is limited to the cores that the launcher leaves to the job.

    Args:
        config: Validated config of the job.
        job: The job; its run is tagged as a member of the sweep.

    Returns:
        The values of the metrics in `config.objectives`, for a search: one number, or a list in this order.

    Raises:
        KeyboardInterrupt: When the job was interrupted; its run is evaluated and finished.
    """
    name = job.name if job.swept else ""
    with job_scope(job.position, name, job.parallel == 1, job.sweep_left):
        return train_job(config, job)


def train_job(config: Config, job: Job) -> float | list[float]:
    """Do what `run_job` describes, with lines that name the job.

    Args:
        config: As for `run_job`.
        job: As for `run_job`.

    Returns:
        As `run_job`.

    Raises:
        KeyboardInterrupt: As `run_job`.
    """
    if config.workers > job.cores:
        limit = f"workers={job.cores} instead of {config.workers}"
        echo_err(f"{limit}: the number of cores of each job")
        config = attrs.evolve(config, workers=job.cores)
    corpus = prepare(config, with_prompt=True)
    unfinished = None
    if config.skip_finished:
        digest = job_digest(config, corpus.digest)
        store = open_store(config)
        if finished := store.find_job(digest):
            store.add_to_sweep(finished.run_id, job.describe())
            same = "which finished with the same config, data and code"
            echo_err(f"reused run {finished.run_id}, {same}")
            return objectives(config, finished.metrics)
        unfinished = find_interrupted(config, digest, job.name)
    result = run(config, "train", corpus, job, unfinished)
    if result.training.stop_reason == "interrupted":  # the job keeps its results, the sweep ends
        raise KeyboardInterrupt
    echo(result.summary(), sys.stdout)
    speed = {"throughput/chars_per_second": result.training.chars_per_second}
    return objectives(config, {"val/loss": result.training.val_loss} | speed)


def objectives(config: Config, metrics: dict[str, float]) -> float | list[float]:
    """Return the values that a search optimizes.

    Args:
        config: Validated config of the job; `objectives` names the metrics.
        metrics: Metric name to value, with all objectives.

    Returns:
        One number, or a list in the configured order where several objectives are configured.
    """
    values = [metrics[name] for name in config.objectives]
    return values if len(values) > 1 else values[0]


def log_job_failure(config: PathsConfig, job: Job, error: Exception, line: str | None) -> None:
    """Print why a job failed; log a FAILED run for a job that failed before its run began.

    Args:
        config: The job's config; only its paths where the other keys are invalid.
        job: The job that failed.
        error: What it raised.
        line: The error in one line; None for a bug, whose traceback is printed.
    """
    reason = line or " ".join(f"{type(error).__name__}: {error}".split())
    if line is None:
        traceback.print_exception(error)
    echo_err(f"train: {job.name}: {reason}")
    if job.started:  # its run records the reason
        return
    log = Run(config, sweep=job.sync_dir)
    write_json(log.folder / JOB_NOTE, job.describe())
    params = flatten(config) if isinstance(config, Config) else dict(job.overrides)
    log.start(job.run_name, params, {"stage": "train", **job.tags()}, data=None, busy_cores=0)
    log.end("FAILED", reason)
