"""`python -m src.pipeline`: the four stages as one tracked run, then the claims, one by one."""

from typing import Any

from src.cli.main import Invocation, run_command
from src.common.errors import UserError


def main(config: Any, invocation: Invocation) -> float:
    from src.experiments.analyses.sonnets import check_sonnets, differs_from_default
    from src.runner import format_summary, run
    from src.tracking.model_registry import register_synced

    result = run(config, "pipeline")
    print("\n" + format_summary(result, config))
    changed = differs_from_default(list(invocation.overrides))
    if changed:
        print(f"\nclaims not checked: they speak of the default config, this run has {' '.join(changed)}")
    elif not check_sonnets(result, config):
        raise UserError("expected every claim to be reproduced, got those marked NOT above")
    print(result.summary(), flush=True)
    if config.register:
        register_synced(result.run_id, result.folder.name, config)
    return result.training.val_loss


if __name__ == "__main__":
    run_command("pipeline", "config", main)
