"""`python -m src.train`: one tracked run, or with --multirun one for each combination."""

import sys
from typing import Any, NoReturn

from src.cli.main import launch, typed_keys
from src.common.console import say


def body(config: Any) -> float | list[float]:
    from src.runner import format_summary, run
    from src.tracking.model_registry import register_delivered
    from src.training.resume import resumption

    job = job_of_a_sweep()
    if job is None and config.rerun is not None:
        rerun(config)
    if job is None:
        if config.resume is None:
            result = run(config, "train")
        else:
            found = resumption(config, typed_keys(config))
            config = found.config
            result = run(config, "train", resumed=found)
        say("\n" + format_summary(result, config) + "\n")
        print(result.summary(), flush=True)
        if config.register:
            register_delivered(result.run_id, result.folder.name, config)
        return result.training.val_loss
    from src.sweeps.job import objectives, run_job

    done = run_job(config, job, cores_of_a_job())
    if isinstance(done, float | list):
        return done
    print(done.summary(), flush=True)
    outcome = done.training
    return objectives(config, {"val/loss": outcome.val_loss, "chars_per_second": outcome.chars_per_second})


def rerun(config: Any) -> NoReturn:
    """Train a logged run again. The exit status says whether it came out the same: 0, or 1."""
    from hydra.core.hydra_config import HydraConfig

    from src.config.deserialize import restored
    from src.experiments.rerun import refuse_overrides, repeat
    from src.tracking.run_store import open_store

    refuse_overrides(list(HydraConfig.get().overrides.task))
    store = open_store(config)
    original = store.load_details(store.find(config.rerun, "rerun"), "rerun")
    config = restored(original.config, original.run_id, original.environment.get("git_commit"), config)
    sys.exit(0 if repeat(original, config, store) else 1)


def failed(config: Any, error: Exception, line: str | None) -> None:
    """A sweep goes on without the job. (None is a failure to Optuna's plugin; nan would end the search.)"""
    from src.sweeps.job import note_failure

    job = job_of_a_sweep()
    assert job is not None
    note_failure(config, job, error, line)


def job_of_a_sweep() -> Any:
    """The job that this process works on, None outside a sweep. One for each job: Hydra's is asked."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from src.sweeps.sweep import Job, Sweep

    hydra, sweep = HydraConfig.get(), Sweep.announced()
    if hydra.mode is RunMode.RUN or sweep is None:
        return None
    key = (sweep.id, hydra.job.num)
    if key not in JOBS:
        JOBS.clear()
        pairs = [text.lstrip("+").partition("=") for text in hydra.overrides.task]
        JOBS[key] = Job(sweep, int(hydra.job.num), {name: value for name, _, value in pairs})
    return JOBS[key]


JOBS: dict[Any, Any] = {}  # the job at work, so that a failure finds what its beginning noted


def cores_of_a_job() -> int:
    """How many cores the launcher leaves to each job."""
    from hydra.core.hydra_config import HydraConfig

    from src.common.process import available_cores, jobs_at_once

    launcher, cores = HydraConfig.get().launcher, available_cores()
    if "n_jobs" in launcher:  # joblib
        return max(1, cores // jobs_at_once(int(launcher.n_jobs)))
    if "cpus_per_task" in launcher:  # submitit
        return int(launcher.cpus_per_task or cores)
    if "ray" in launcher:
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    return cores


if __name__ == "__main__":
    launch("train", "config", body, failed)
