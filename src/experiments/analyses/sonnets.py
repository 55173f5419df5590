"""The claims of the sonnets, held against the pipeline's run: one of them asks for a second training."""

import hashlib
from typing import Any

from src.common.errors import echo_err
from src.common.files import PROJECT, absolute, write_json
from src.config.schema import NON_SEMANTIC_KEYS, Config
from src.experiments.claims import all_passed, check_claims, read_claims, tally
from src.final_evaluation import RunResult
from src.runner import prepare
from src.training.callbacks import NullLogger
from src.training.early_stopping import EarlyStopping
from src.training.trainer import Trainer

EXPECTED = PROJECT / "experiments" / "sonnets" / "expected.json"
FIGURES = "reproduction.json"  # under outputs/


def repeated_digest(config: Config) -> str:
    """sha256 of the weights that a second training with the same config comes to."""
    corpus = prepare(config, with_prompt=False)
    result = Trainer(config, corpus).fit(NullLogger(), [EarlyStopping(config.patience)])
    return hashlib.sha256(result.params.tobytes()).hexdigest()


def check_sonnets(result: RunResult, config: Config) -> bool:
    """Train again, hold every claim of the sonnets experiment against the figures; True when all hold.

    Writes outputs/reproduction.json: the figures without anything that depends on the clock.
    """
    echo_err("\ntraining once more, for the claim that the weights come out the same")
    identical = repeated_digest(config) == result.weights_sha256
    metrics = {**result.evaluation.metrics(), "val/loss": result.training.val_loss}
    metrics["repeat/identical"] = float(identical)
    found = check_claims(read_claims(EXPECTED), metrics)
    print("\n" + "\n".join(v.line() for v in found))
    report: dict[str, Any] = {
        "metrics": metrics,
        "best_step": result.training.best_step,
        "steps": result.training.steps,
        "weights_sha256": result.weights_sha256,
        "samples": {f"{t:g}": config.prompt + text for t, text in result.samples.items()},
    }
    file = absolute(config.output_dir) / FIGURES
    write_json(file, report)
    print(f"\n{tally(found)}; the figures: {file}")
    return all_passed(found)


def differs_from_default(overrides: list[str]) -> list[str]:
    """The overrides that change what is computed, not merely where it is put."""
    no_matter = {*NON_SEMANTIC_KEYS} - {"resume", "rerun"}  # those two bring another run's config
    return [o for o in overrides if o.split("=")[0].split(".")[0] not in no_matter]
