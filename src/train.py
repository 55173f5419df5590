"""`python -m src.train`: train one tracked run, or with --multirun one for each combination."""

import sys
from typing import Any

from src.cli.main import Invocation, overridden_keys, run_command
from src.common.console import echo_err


def main(config: Any, invocation: Invocation) -> float | list[float]:
    """Train one run and print its results, or run one job of a sweep.

    Args:
        config: Validated config, a `src.config.schema.Config`.
        invocation: The command line, with the job where this process works on one.

    Returns:
        Validation loss of the kept weights in nats per character; for a job, its objective value or values.

    Raises:
        UserError: For bad input.
        SystemExit: After a rerun (`rerun=`), with status 0 where the result is identical, and 1 otherwise.
    """
    if invocation.job:
        from src.sweeps.job import run_job

        return run_job(config, invocation.job)
    from src.runner import format_summary, run

    resumed = None
    if config.rerun is not None:
        from src.experiments.rerun import merge_overrides, reject_overrides, retrain
        from src.tracking.run_store import open_store

        reject_overrides(list(invocation.overrides))
        store = open_store(config)
        original = store.load_details(store.find(config.rerun, "rerun"), "rerun")
        echo_err(original.describe(config.rerun))
        sys.exit(0 if retrain(original, merge_overrides(original, config)) else 1)
    if config.resume is not None:
        from src.training.resume import find_resume_point

        resumed = find_resume_point(config, overridden_keys(config, invocation))
        config = resumed.config
    result = run(config, "train", resumed=resumed, overrides=invocation.overrides)
    echo_err("\n" + format_summary(result, config) + "\n")
    print(result.summary(), flush=True)
    if config.register:
        from src.tracking.mlflow_client import register

        register(result.run_id, result.folder.name, config)
    return result.training.val_loss


if __name__ == "__main__":
    run_command("train", "config", main)
