"""One job of a sweep: trained, or reused when it was trained before, or failed without ending the others."""

import traceback
from dataclasses import replace

from src.common.console import say
from src.config.schema import Config, PlacesConfig
from src.final_evaluation import Result
from src.runner import prepare, run
from src.sweeps.job_store import record_refusal
from src.sweeps.sweep import Job
from src.tracking.fingerprint import job_digest
from src.tracking.run_store import open_store
from src.training.resume import find_unfinished


def run_job(config: Config, job: Job, cores: int) -> Result | float | list[float]:
    """Train one job; with skip_finished=true a run that is finished already stands for it, and one that was
    interrupted goes on.

    cores: what the launcher leaves to each job. Returns what came out, or the objectives of the reused run.
    """
    if config.workers > cores:
        say(f"{job.name}: workers={cores} instead of {config.workers}, as many cores as each job has")
        config = replace(config, workers=cores)
    corpus = prepare(config, with_prompt=True)
    unfinished = None
    if config.skip_finished:
        digest = job_digest(config, corpus.digest)
        store = open_store(config)
        if finished := store.find_job(digest):
            store.add_to_sweep(finished.run_id, job.describe())
            same = "which finished with the same config, data and code"
            say(f"{job.name}: reused run {finished.run_id}, {same}")
            return objectives(config, finished.metrics)
        unfinished = find_unfinished(config, digest, job.name)
    result = run(config, "train", corpus, job, unfinished)
    if result.training.stop_reason == "interrupted":  # the job keeps what it has, but the sweep is to end
        raise KeyboardInterrupt
    return result


def objectives(config: Config, metrics: dict[str, float]) -> float | list[float]:
    """What a search is told of a job: a number, or a list of them where several are asked for."""
    values = [metrics[name] for name in config.objectives]
    return values if len(values) > 1 else values[0]


def note_failure(config: PlacesConfig, job: Job, error: Exception, line: str | None) -> None:
    """Say on the terminal and in the tracker that a job failed. line: the error in one line, for bad input;
    without one it is a bug, whose traceback is shown."""
    reason = line or " ".join(f"{type(error).__name__}: {error}".split())
    if line is None:
        traceback.print_exception(error)
    say(f"train: {job.name}: {reason}")
    if not job.opened:
        record_refusal(config, job, reason)
