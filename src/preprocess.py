"""`python -m src.preprocess`: prepare a corpus: write its token file, vocabulary and manifest."""

from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    from src.runner import prepare

    corpus = prepare(config, with_prompt=False)
    for name, (start, stop) in corpus.bounds.items():
        print(f"{name:<6}{stop - start:>12,} characters")


if __name__ == "__main__":
    run_command("preprocess", "config", main)
