"""`python -m src.train`: one tracked run, or with --multirun one for each combination."""

import sys
from typing import Any, NoReturn

from src.cli.main import Invocation, launch, overridden_keys
from src.common.console import say


def main(config: Any, invocation: Invocation) -> float | list[float]:
    if invocation.job:
        from src.sweeps.job import run_job

        return run_job(config, invocation.job)
    from src.runner import format_summary, run
    from src.tracking.model_registry import register_delivered
    from src.training.resume import resumption

    if config.rerun is not None:
        rerun(config, invocation)
    if config.resume is None:
        result = run(config, "train")
    else:
        found = resumption(config, overridden_keys(config, invocation))
        config = found.config
        result = run(config, "train", resumed=found)
    say("\n" + format_summary(result, config) + "\n")
    print(result.summary(), flush=True)
    if config.register:
        register_delivered(result.run_id, result.folder.name, config)
    return result.training.val_loss


def rerun(config: Any, invocation: Invocation) -> NoReturn:
    """Train a logged run again; the exit status is 0 where the result is identical, else 1."""
    from src.experiments.rerun import config_in_place, reject_overrides, repeat
    from src.tracking.run_store import open_store

    reject_overrides(list(invocation.overrides))
    store = open_store(config)
    original = store.load_details(store.find(config.rerun, "rerun"), "rerun")
    sys.exit(0 if repeat(original, config_in_place(original, config), store) else 1)


if __name__ == "__main__":
    launch("train", "config", main)
