"""What the launchers of conf/hydra/launcher need beside their configs: the plugin, and word of the sweep."""

import logging
import os
from importlib.util import find_spec

from omegaconf import DictConfig, read_write

from src.common.errors import InputError
from src.sweeps.sweep import VARIABLE

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"

# Part of a launcher's class -> its package, and what else must be there. None is in the default lock.
ELSEWHERE = {
    "hydra_submitit_launcher": ("hydra-submitit-launcher", "submitit"),
    "hydra_ray_launcher": ("hydra-ray-launcher", "ray"),
}


def prepare_launcher(config: DictConfig) -> None:
    """Before a sweep is opened: can the launcher do it? Raises InputError.

    Ray reads its settings from the environment when it is imported, which comes later.
    """
    jobs = config.hydra.launcher.get("n_jobs", 1)
    if not isinstance(jobs, int) or jobs == 0:
        wanted = "a number of jobs, or -1 for one on each core"
        raise InputError(f"hydra.launcher.n_jobs: expected {wanted}, got {'null' if jobs is None else jobs}")
    target = str(config.hydra.launcher.get("_target_", ""))
    for module, (package, library) in ELSEWHERE.items():
        if module not in target.split("."):
            continue
        if not (present("hydra_plugins") and present(f"hydra_plugins.{module}") and present(library)):
            choice = config.hydra.runtime.choices.get("hydra/launcher")
            raise InputError(
                f"hydra/launcher: expected {package} for {choice}, got none: make cluster installs it"
            )
        if library == "ray":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reporting: only if the user turns it on
            logging.getLogger("ray").setLevel(logging.ERROR)  # else a line for each thing it sets up


def present(module: str) -> bool:
    """Whether a module can be imported."""
    return find_spec(module) is not None


def tell_jobs(config: DictConfig) -> None:
    """Let every job know of the announced sweep, also where the environment does not reach.

    Each job's config is composed again, in its own process or on its own machine, from overrides that travel
    with it; Hydra then sets the variable around the job, and takes it away again behind it.
    """
    with read_write(config.hydra):
        config.hydra.overrides.hydra.append(f"++hydra.job.env_set.{VARIABLE}={os.environ[VARIABLE]}")
