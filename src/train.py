"""`python -m src.train`: one tracked run, or with --multirun one for each combination."""

from typing import Any

from src.cli import launch


def body(config: Any) -> float:
    from src.lab.experiment import run

    result = run(config, "train")
    print(result.summary(), flush=True)
    return result.outcome.val_loss


if __name__ == "__main__":
    launch("train", "config", body)
