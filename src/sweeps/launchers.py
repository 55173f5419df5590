"""Launchers: their plugins, the cores of each job, and the export of a sweep to its jobs."""

import logging
import os
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, read_write

from src.common import process
from src.common.errors import UserError
from src.tracking.sweep import SWEEP_ENV

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB_LAUNCHER = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"

# Module of a launcher's class -> the library that it needs. None is in the default lock.
OPTIONAL_LAUNCHERS = {"hydra_submitit_launcher": "submitit", "hydra_ray_launcher": "ray"}


def prepare_launcher(config: DictConfig) -> None:
    """Check that the launcher can run, before a sweep is opened.

    Args:
        config: The sweep's composed config with its `hydra` node.

    Raises:
        UserError: For an invalid `n_jobs` or a missing plugin.
    """
    jobs = config.hydra.launcher.get("n_jobs", 1)
    if not isinstance(jobs, int) or jobs == 0:
        expected = "a number of jobs, or -1 for one on each core"
        got = "null" if jobs is None else jobs
        raise UserError(f"hydra.launcher.n_jobs: expected {expected}, got {got}")
    target = str(config.hydra.launcher.get("_target_", ""))
    for module, library in OPTIONAL_LAUNCHERS.items():
        if module not in target.split("."):
            continue
        if not all(map(find_spec, ("hydra_plugins", f"hydra_plugins.{module}", library))):
            package, choice = module.replace("_", "-"), config.hydra.runtime.choices.get("hydra/launcher")
            expected = f"{package} for {choice}"
            raise UserError(f"hydra/launcher: expected {expected}, got none: make cluster installs it")
        if library == "ray":  # Ray reads its settings from the environment when it is imported, later
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # opt-in
            logging.getLogger("ray").setLevel(logging.ERROR)  # otherwise a line for each of its processes


def cores_per_job(launcher: Any) -> int:
    """Return the number of cores that a launcher leaves to each job.

    Args:
        launcher: The node `hydra.launcher`. Its keys tell joblib (`n_jobs`), submitit (`cpus_per_task`) and
            Ray (`ray`) apart; any other launcher runs one job at a time on all cores.

    Returns:
        The number of cores, at least 1.
    """
    cores = process.available_cores()
    if "n_jobs" in launcher:  # joblib
        return max(1, cores // process.max_parallel_jobs(int(launcher.n_jobs)))
    if "cpus_per_task" in launcher:  # submitit
        return int(launcher.cpus_per_task or cores)
    if "ray" in launcher:
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    return cores


def parallel_jobs(launcher: Any) -> int:
    """Return the number of jobs that a launcher runs at the same time.

    Args:
        launcher: The node `hydra.launcher`.

    Returns:
        The number of jobs; 0 for a cluster, whose free machines are not known.
    """
    if "n_jobs" in launcher:
        return process.max_parallel_jobs(int(launcher.n_jobs))
    return int(launcher.get("_target_") == BASIC_LAUNCHER)


def export_sweep_env(config: DictConfig) -> None:
    """Export the sweep to its jobs, also where they do not inherit the environment.

    Each job composes its config again from the overrides that are sent with it, so the sweep is one of them.
    Hydra sets `hydra.job.env_set` only while the job runs.

    Args:
        config: The sweep's composed config; an override with the value of SWEEP_ENV is added to it.
    """
    with read_write(config.hydra):
        config.hydra.overrides.hydra.append(f"++hydra.job.env_set.{SWEEP_ENV}={os.environ[SWEEP_ENV]}")
