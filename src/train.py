"""`python -m src.train`: one tracked run, or with --multirun one for each combination."""

from typing import Any

from src.cli import launch


def body(config: Any) -> float:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from src.lab.experiment import overview, run, say

    result = run(config, "train")
    if HydraConfig.get().mode is RunMode.RUN:  # a sweep's jobs are compared in MLflow, not in the terminal
        say("\n" + overview(result, config) + "\n")
    print(result.summary(), flush=True)
    return result.outcome.val_loss


if __name__ == "__main__":
    launch("train", "config", body)
