"""Callbacks that every training uses (samples, early stopping, progress), and a logger that logs nothing."""

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

EARLY_STOPPING = "early stopping"  # stop reason


class NullLogger:
    """A `Logger` that logs nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing.

        Args:
            metrics: Values by metric name, ignored.
            step: Optimizer step, ignored.
        """

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing.

        Args:
            path: File, ignored.
            folder: Folder below the artifacts of the run, ignored.
        """


class SampleLogger(Callback):
    """A callback that generates a short sample at each validation, always from the same random numbers.

    Args:
        logger: Destination to which the file of the samples is logged.
        file: File with all samples so far, one entry per validation, UTF-8.
        length: Number of characters of a sample.

    Attributes:
        text: Content of the file: all samples so far.
        last: Last sample, without the prompt; "" before the first validation.
    """

    def __init__(self, logger: Logger, file: Path, length: int = 80) -> None:
        self.logger, self.file, self.length = logger, file, length
        self.text = ""
        self.last = ""

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Generate a sample with `eval_params`, add it to the file and log the file.

        Args:
            trainer: Trainer of the run, whose config has the temperature and the seed.
            val_loss: Validation loss in nats per character, not used.

        Raises:
            UserError: The prompt has a character that is not in the vocabulary, or the file cannot be
                written.
        """
        from src.generation.sampling import sample

        config, model = trainer.config, trainer.model(trainer.eval_params)
        rng = np.random.default_rng(config.seed)
        self.last = "".join(sample(model, model.prompt, config.temperature, self.length, rng))
        self.text += f"step {trainer.step}: {model.prompt}{self.last}\n"
        self.file.parent.mkdir(exist_ok=True)
        write_text(self.file, self.text)
        self.logger.log_artifact(self.file, self.file.parent.name)

    def restore(self, characters: int) -> None:
        """Restore the samples that belong to a checkpoint, from the beginning of the file.

        Args:
            characters: Number of characters of the file that were there at the checkpoint.
        """
        if self.file.exists():
            with self.file.open(encoding="utf-8", errors="surrogatepass", newline="") as file:
                self.text = file.read(characters)


class EarlyStopping(Callback):
    """A callback that stops the training when the validation loss no longer improves.

    Args:
        patience: Number of validations in a row without an improvement after which the training stops, >= 1;
            None: never stop.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_train_start(self, trainer: "Trainer") -> None:
        """Stop a resumed training at once if its patience is already exhausted.

        Args:
            trainer: Trainer of the run.
        """
        if patience_exhausted(self.patience, trainer.best.wait_count):
            trainer.request_stop(EARLY_STOPPING)

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Stop the training if the patience is exhausted.

        Args:
            trainer: Trainer of the run, whose `best` already includes this validation.
            val_loss: Validation loss in nats per character, not used.
        """
        self.on_train_start(trainer)


def patience_exhausted(patience: int | None, wait_count: int) -> bool:
    """Return whether early stopping ends a training.

    Args:
        patience: Number of validations in a row without an improvement that are allowed; None: no limit.
        wait_count: Number of validations since the last improvement.

    Returns:
        True if `wait_count` has reached `patience`.
    """
    return patience is not None and wait_count >= patience


class ProgressBar(Callback, AbstractContextManager["ProgressBar"]):
    """A callback that shows the logged metrics and samples: a bar on a terminal, otherwise plain lines.

    It writes to standard error. It is a context manager, so that the bar ends also after an error.

    Args:
        samples: Callback that generates the samples; it comes earlier in the list of callbacks.
    """

    def __init__(self, samples: SampleLogger) -> None:
        self.samples = samples
        console = Console(stderr=True, highlight=False)
        self.print = partial(console.print, soft_wrap=True)
        self.shown: dict[str, Any] = {"train": "-", "val": "-", "speed": "-"}
        self.bar: Progress | None = None
        if console.is_terminal:
            losses = "train {task.fields[train]}  val {task.fields[val]} nats  {task.fields[speed]} chars/s"
            self.bar = Progress(
                TextColumn("step {task.fields[step]}  epoch {task.fields[epoch]}"),
                BarColumn(bar_width=20),
                TextColumn(losses),
                TimeRemainingColumn(),
                console=console,
            )

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def on_train_start(self, trainer: "Trainer") -> None:
        """Start the clock and show the bar.

        Args:
            trainer: Trainer of the run; a resumed training continues its own time.
        """
        self.began = time.perf_counter() - trainer.counters.seconds
        if self.bar is not None:
            self.task = self.bar.add_task(
                "", total=1.0, step=f"0/{trainer.max_steps}", epoch="0.00", **self.shown
            )
            self.bar.start()

    def on_log(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """Update the bar; without a terminal, print a line at each validation.

        A rollback is reported in a line of its own.

        Args:
            trainer: Trainer of the run.
            metrics: Values by metric name, logged at `trainer.step`.
        """
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
        # Completed share of the training, by steps or by time, whichever is larger.
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
        """Show the sample of this validation.

        Args:
            trainer: Trainer of the run.
            val_loss: Validation loss in nats per character, not used.
        """
        self.print(f"    {self.samples.last}", markup=False, style="dim")
