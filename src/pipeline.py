"""`python -m src.pipeline`: run the four stages as one tracked run, then check the claims."""

from typing import Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err
from src.common.errors import UserError
from src.config.schema import semantic_overrides


def main(config: Any, invocation: Invocation) -> float:
    """Train, evaluate and sample one run; check the claims where it has the default config.

    Args:
        config: Validated config, a `src.config.schema.Config`.
        invocation: The command line, whose overrides decide whether the claims are checked.

    Returns:
        Validation loss of the kept weights in nats per character.

    Raises:
        UserError: For bad input, or where a claim is not reproduced.
    """
    from src.runner import format_summary, run

    result = run(config, "pipeline", overrides=invocation.overrides)
    print("\n" + format_summary(result, config))
    if changed := semantic_overrides(invocation.overrides):
        print(f"\nclaims not checked: they are about the default config; this run has {' '.join(changed)}")
    else:
        from src.common.files import absolute
        from src.experiments.claims import tally
        from src.experiments.runner import PIPELINE_RESULTS, check_pipeline  # slow to import

        echo_err("\ntraining again, to check that the weights are identical")
        claims = check_pipeline(result, config).claims
        print("\n" + "\n".join(claim.line() for claim in claims))
        file = absolute(config.output_dir) / PIPELINE_RESULTS
        print(f"\n{tally(claim.passed for claim in claims)}; the figures: {file}")
        if not all(claim.passed for claim in claims):
            raise UserError(
                "expected every claim to be reproduced, got the claims that are marked NOT reproduced above"
            )
    print(result.summary(), flush=True)
    if config.register:
        from src.tracking.mlflow_client import register

        register(result.run_id, result.folder.name, config)
    return result.training.val_loss


if __name__ == "__main__":
    run_command("pipeline", "config", main)
