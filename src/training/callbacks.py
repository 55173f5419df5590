"""Callbacks of every training: samples, early stopping and progress, and a logger that logs nothing."""

import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from src.common.callback import Callback, Logger
from src.common.files import write_text

if TYPE_CHECKING:
    from src.training.trainer import Trainer

EARLY_STOPPING = "early stopping"  # the stop reason


class NullLogger:
    """Logs nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing."""


class SampleLogger(Callback):
    """Generate a short sample at each validation, always from the same random numbers.

    Args:
        logger: Where the file of samples is logged.
        file: All samples so far, a line each.
        length: Characters of a sample.
    """

    def __init__(self, logger: Logger, file: Path, length: int = 80) -> None:
        self.logger, self.file, self.length = logger, file, length
        self.text = ""
        self.last = ""

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Generate, keep and log a sample."""
        from src.generation.sampling import sample
        from src.models.serialization import TrainedModel

        config, corpus = trainer.config, trainer.corpus
        model = TrainedModel(
            trainer.architecture, trainer.eval_params, corpus.vocabulary, corpus.normalization
        )
        rng = np.random.default_rng(config.seed)
        self.last = "".join(sample(model, config.prompt, config.temperature, self.length, rng))
        self.text += f"step {trainer.step}: {config.prompt}{self.last}\n"
        self.file.parent.mkdir(exist_ok=True)
        write_text(self.file, self.text)
        self.logger.log_artifact(self.file, self.file.parent.name)

    def restore(self, characters: int) -> None:
        """Go back to the samples of a checkpoint, the first so many characters of the file."""
        if self.file.exists():
            with self.file.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
                self.text = file.read(characters)


class EarlyStopping(Callback):
    """Stop when the validation loss has not improved for `patience` validations; None: never."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_train_start(self, trainer: "Trainer") -> None:
        """Stop a resumed training at once whose patience is exhausted."""
        if patience_exhausted(self.patience, trainer.best.wait_count):
            trainer.request_stop(EARLY_STOPPING)

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Stop when the patience is exhausted."""
        self.on_train_start(trainer)


def patience_exhausted(patience: int | None, wait_count: int) -> bool:
    """Return whether early stopping ends a training that has waited for so many validations."""
    return patience is not None and wait_count >= patience


class ProgressBar(Callback, AbstractContextManager["ProgressBar"]):
    """Show what a trainer logs and the samples it generates: a bar on a terminal, plain lines elsewhere.

    On standard error. A context manager, so that the bar ends whatever happens.
    """

    def __init__(self, samples: SampleLogger) -> None:
        self.samples = samples
        console = Console(stderr=True, highlight=False)
        self.print = partial(console.print, soft_wrap=True)
        self.shown: dict[str, Any] = {"train": "-", "val": "-", "speed": "-"}
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("step {task.fields[step]}  epoch {task.fields[epoch]}"),
                BarColumn(bar_width=20),
                TextColumn(
                    "train {task.fields[train]}  val {task.fields[val]} nats  {task.fields[speed]} chars/s"
                ),
                TimeRemainingColumn(),
                console=console,
            )

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_train_start(self, trainer: "Trainer") -> None:
        """Start the clock, and the bar."""
        self.began = time.perf_counter() - trainer.counters.seconds
        if self.bar is not None:
            self.task = self.bar.add_task(
                "", total=1.0, step=f"0/{trainer.max_steps}", epoch="0.00", **self.shown
            )
            self.bar.start()

    def on_log(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """Update the bar, or print a line at each validation."""
        if "train/loss" in metrics:
            self.shown["train"] = f"{metrics['train/loss']:.3f}"
            self.shown["speed"] = f"{metrics['throughput/chars_per_second']:,.0f}"
        if "rollbacks" in metrics:
            self.print(
                f"step {trainer.step}: diverged; restored the last good weights with a smaller learning rate "
                f"(rollback {metrics['rollbacks']:.0f})"
            )
        if "val/loss" in metrics:
            self.shown["val"] = f"{metrics['val/loss']:.3f}"
        step = f"{trainer.step}/{trainer.max_steps}"
        epoch = f"{trainer.step / trainer.batches.steps_per_epoch:.2f}"
        seconds = time.perf_counter() - self.began
        # The share of the training that is done: by steps or by time, whichever ends first.
        by_time = seconds / trainer.config.max_seconds if trainer.config.max_seconds else 0.0
        done = min(1.0, max(trainer.step / trainer.max_steps, by_time))
        if self.bar is not None:
            self.bar.update(self.task, completed=done, step=step, epoch=epoch, **self.shown)
        elif "val/loss" in metrics:
            left = seconds * (1 / max(done, 1e-9) - 1)
            self.print(
                f"step {step}  epoch {epoch}  train {self.shown['train']}  "
                f"val {self.shown['val']} nats  {self.shown['speed']} chars/s  {left:.0f} s left"
            )

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Show the sample of this validation."""
        self.print(f"    {self.samples.last}", markup=False, style="dim")
