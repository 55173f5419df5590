"""`python -m src.preprocess`: write the token file, the vocabulary and the manifest of a corpus."""

from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    """Prepare a corpus, and print the size of each split in characters.

    Args:
        config: Validated config, a `src.config.schema.Config`.

    Raises:
        UserError: The text cannot be read or prepared.
    """
    from src.runner import prepare

    corpus = prepare(config, with_prompt=False)
    for name, (start, stop) in corpus.bounds.items():
        print(f"{name:<6}{stop - start:>12,} characters")


if __name__ == "__main__":
    run_command("preprocess", "config", main)
