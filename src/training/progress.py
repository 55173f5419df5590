"""What a person sees while a network trains: a bar on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A context manager that takes the trainer's reports and shows them on standard error.

    total: steps of the whole training; max_seconds: a time budget, which may end it sooner; before: seconds
    that were trained before an interruption.
    """

    def __init__(
        self, total: int, steps_per_epoch: int, max_seconds: float | None, before: float = 0.0
    ) -> None:
        self.console = Console(stderr=True)
        self.total, self.steps_per_epoch, self.max_seconds = total, steps_per_epoch, max_seconds
        self.shown: dict[str, Any] = {"train": "-", "val": "-", "speed": "-"}
        self.began = time.perf_counter() - before
        self.bar: Progress | None = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn(
                    "step {task.fields[step]}/{task.fields[total_steps]}  epoch {task.fields[epoch]:.2f}"
                ),
                BarColumn(bar_width=20),
                TextColumn(
                    "train {task.fields[train]}  val {task.fields[val]} nats  {task.fields[speed]} chars/s"
                ),
                TimeRemainingColumn(),
                console=self.console,
            )

    def __enter__(self) -> "TrainingProgress":
        if self.bar is not None:
            self.task = self.bar.add_task(
                "", total=1.0, step=0, total_steps=self.total, epoch=0.0, **self.shown
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Take one report of the trainer."""
        if "train/loss" in metrics:
            self.shown["train"] = f"{metrics['train/loss']:.3f}"
            self.shown["speed"] = f"{metrics['chars_per_second']:,.0f}"
        if "rollbacks" in metrics:
            self.console.print(
                f"step {step}: the training diverged and went back to its last good weights with a smaller "
                f"learning rate (rollback {metrics['rollbacks']:.0f})",
                highlight=False,
                soft_wrap=True,
            )
        if "val/loss" in metrics:
            self.shown["val"] = f"{metrics['val/loss']:.3f}"
        epoch = step / self.steps_per_epoch
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done(step), step=step, epoch=epoch, **self.shown)
        elif "val/loss" in metrics:
            seconds = time.perf_counter() - self.began
            left = seconds * (1 / max(self.done(step), 1e-9) - 1)
            self.console.print(
                f"step {step}/{self.total}  epoch {epoch:.2f}  train {self.shown['train']}  "
                f"val {self.shown['val']} nats  {self.shown['speed']} chars/s  {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    def show(self, sample: str) -> None:
        """A short sample, to watch the network learn to spell."""
        self.console.print(f"    {sample}", highlight=False, markup=False, style="dim", soft_wrap=True)

    def done(self, step: int) -> float:
        """Share of the training that is behind, by steps or by time, whichever ends first."""
        share = step / self.total
        if self.max_seconds is not None:
            share = max(share, (time.perf_counter() - self.began) / self.max_seconds)
        return min(1.0, share)
