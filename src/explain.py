"""`python -m src.explain`: write a page that shows every array of one training step."""

import re
from typing import Any

from src.cli.main import Invocation, run_command
from src.common.console import echo_err


def main(config: Any, _: Invocation) -> None:
    """Compute one training step of a tiny network, and write its page.

    Args:
        config: Validated config, a `src.config.schema.ExplainConfig`.

    Raises:
        UserError: The page cannot be written.
    """
    from src.common.files import absolute, write_text
    from src.diagnostics.training_step import TrainingStep, render_page

    step = TrainingStep.of(config.text, config.cell, config.hidden, config.lr, config.seed)
    text = re.sub(r"\W", "_", config.text)
    name = f"{text}-{config.cell}-{config.hidden}-seed{config.seed}-lr{config.lr:g}.html"
    path = absolute(config.path or f"{config.output_dir}/explain/{name}")
    write_text(path, render_page(step))
    before, after = step.losses()
    echo_err(
        f"The update changes the loss from {before:.4f} to {after:.4f} nats. Open the page in a browser:"
    )
    print(path)


if __name__ == "__main__":
    run_command("explain", "explain", main)
