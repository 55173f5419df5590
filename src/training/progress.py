"""A progress bar on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from src.common.callback import BaseCallback
from src.training.callbacks import SampleLogger

if TYPE_CHECKING:
    from src.training.trainer import Trainer


class ProgressBar(BaseCallback):
    """Show on standard error what a trainer logs and the samples it generates.

    A context manager, so that the bar ends whatever happens.
    """

    def __init__(self, samples: SampleLogger) -> None:
        self.samples = samples
        self.console = Console(stderr=True)
        self.shown: dict[str, Any] = {"train": "-", "val": "-", "speed": "-"}
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

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_train_start(self, trainer: "Trainer") -> None:
        """Start the clock, and the bar."""
        self.began = time.perf_counter() - trainer.counters.seconds
        if self.bar is not None:
            self.task = self.bar.add_task(
                "", total=1.0, step=0, total_steps=trainer.max_steps, epoch=0.0, **self.shown
            )
            self.bar.start()

    def on_log(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """Update the bar, or print a line at each validation."""
        step, total = trainer.step, trainer.max_steps
        if "train/loss" in metrics:
            self.shown["train"] = f"{metrics['train/loss']:.3f}"
            self.shown["speed"] = f"{metrics['throughput/chars_per_second']:,.0f}"
        if "rollbacks" in metrics:
            self.console.print(
                f"step {step}: diverged; restored the last good weights with a smaller learning rate "
                f"(rollback {metrics['rollbacks']:.0f})",
                highlight=False,
                soft_wrap=True,
            )
        if "val/loss" in metrics:
            self.shown["val"] = f"{metrics['val/loss']:.3f}"
        epoch = step / trainer.batches.steps_per_epoch
        if self.bar is not None:
            self.bar.update(
                self.task, completed=self.completed_fraction(trainer), step=step, epoch=epoch, **self.shown
            )
        elif "val/loss" in metrics:
            seconds = time.perf_counter() - self.began
            left = seconds * (1 / max(self.completed_fraction(trainer), 1e-9) - 1)
            self.console.print(
                f"step {step}/{total}  epoch {epoch:.2f}  train {self.shown['train']}  "
                f"val {self.shown['val']} nats  {self.shown['speed']} chars/s  {left:.0f} s left",
                highlight=False,
                soft_wrap=True,
            )

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Show the sample of this validation."""
        self.console.print(
            f"    {self.samples.last}", highlight=False, markup=False, style="dim", soft_wrap=True
        )

    def completed_fraction(self, trainer: "Trainer") -> float:
        """Return the share of the training that is done, by steps or by time, whichever ends first."""
        share, limit = trainer.step / trainer.max_steps, trainer.config.max_seconds
        if limit is not None:
            share = max(share, (time.perf_counter() - self.began) / limit)
        return min(1.0, share)
