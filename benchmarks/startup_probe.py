"""Startup marks of a command: `python -m benchmarks.startup_probe train ...` runs `python -m src.train ...`.

Writes lines `mark NAME SECONDS` to standard error, on the clock of time.perf_counter: after the start of
Python, when Hydra composes, when the command's own work starts, and once at the end: after the first training
step (`step`) or at the first character on standard output (`output`).
"""

import runpy
import sys
import time
from typing import Any

SEEN: set[str] = set()


def mark(name: str) -> None:
    if name not in SEEN:
        SEEN.add(name)
        sys.stderr.write(f"mark {name} {time.perf_counter():.6f}\n")


class Marked:
    """Standard output that marks the first write."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if text:
            mark("output")
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def main() -> None:
    mark("python")
    sys.stdout = Marked(sys.stdout)
    from src.cli import main as cli

    compose = cli.compose

    def marked_compose(config_name: str, main: Any) -> Any:
        mark("compose")
        composed = compose(config_name, main)
        mark("body")
        if sys.argv[0].endswith(("train.py", "pipeline.py")):
            watch_steps()
        return composed

    cli.compose = marked_compose
    command = sys.argv[1]
    sys.argv[:] = [f"src/{command}.py", *sys.argv[2:]]
    runpy.run_module(f"src.{command}", run_name="__main__", alter_sys=False)


def watch_steps() -> None:
    """Mark the end of the first training step."""
    from src.training.trainer import Trainer

    step = Trainer.train_step

    def marked(self: Trainer) -> None:
        step(self)
        mark("step")

    Trainer.train_step = marked  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
