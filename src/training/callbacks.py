"""Callbacks that every training uses (samples, early stopping, progress), and a logger that logs nothing."""

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from src.common.callback import Callback, Logger
from src.common.console import current_scope, format_duration, printable, with_label
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
    """A callback that shows the losses and a sample at each validation, and the progress.

    On a terminal, each validation is one line with the losses and one line with the sample, both cut to the
    width, above a bar with the time left; a job that runs in parallel to others shows no bar. Elsewhere, the
    lines have everything in full. It writes to standard error. It is a context manager, so that the bar ends
    also after an error.

    Args:
        samples: Callback that generates the samples; it comes earlier in the list of callbacks.
    """

    def __init__(self, samples: SampleLogger) -> None:
        self.samples, self.scope = samples, current_scope()
        self.console = Console(stderr=True)
        self.train, self.speed = "train -", "- chars/s"
        self.bar: Progress | None = None
        if self.console.is_terminal and not self.console.is_dumb_terminal and self.scope.alone:
            columns = ("{task.description}step {task.fields[step]}", "{task.fields[state]}")
            before, after = (TextColumn(text, markup=False) for text in columns)
            self.bar = Progress(
                before, BarColumn(bar_width=None), after, console=self.console, transient=True
            )

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def print(self, line: str, style: str | None = None) -> None:
        """Print one line above the bar; on a terminal, cut it to the width.

        Args:
            line: The line, without the name of the job.
            style: Style of rich; None (the default) for plain text.
        """
        width = self.console.width if self.console.is_terminal else None
        text = with_label(line, width)
        self.console.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def on_train_start(self, trainer: "Trainer") -> None:
        """Start the clock and show the bar.

        Args:
            trainer: Trainer of the run; a resumed training continues its own time.
        """
        self.began = time.perf_counter() - trainer.counters.seconds
        if self.bar is not None:
            position = f"{self.scope.position}  " if self.scope.position else ""
            self.task = self.bar.add_task(position, total=1.0, step=f"0/{trainer.max_steps}", state="")
            self.bar.start()

    def on_log(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """Update the bar; print a line at each validation, and at each rollback.

        Args:
            trainer: Trainer of the run.
            metrics: Values by metric name, logged at `trainer.step`.
        """
        if "train/loss" in metrics:
            self.train = f"train {metrics['train/loss']:.3f}"
            self.speed = f"{metrics['throughput/chars_per_second']:,.0f} chars/s"
        if "rollbacks" in metrics:
            self.print(
                f"step {trainer.step}: diverged; restored the last good weights with a smaller learning rate "
                f"(rollback {metrics['rollbacks']:.0f})"
            )
        seconds = time.perf_counter() - self.began
        # Completed share of the training, by steps or by time, whichever is larger.
        by_time = seconds / trainer.config.max_seconds if trainer.config.max_seconds else 0.0
        done = min(1.0, max(trainer.step / trainer.max_steps, by_time))
        seconds_left = seconds * (1 / max(done, 1e-9) - 1)
        left = f"{format_duration(seconds_left)} left"
        outer = self.scope.time_left(done, seconds_left)
        step = f"{trainer.step}/{trainer.max_steps}"
        if self.bar is not None:
            state = f"{left}, {outer}" if outer else f"{self.train}  {self.speed}  {left}"
            self.bar.update(self.task, completed=done, step=step, state=state)
        if "val/loss" in metrics:
            val = f"val {metrics['val/loss']:.3f} nats"
            epoch = f"epoch {trainer.step / trainer.batches.steps_per_epoch:.2f}"
            if self.console.is_terminal:  # the losses first: the rest may be cut
                parts = [f"step {step}", self.train, val, outer if self.bar is None else ""]
            else:
                parts = [f"step {step}", epoch, self.train, val, self.speed, left, outer]
            self.print("  ".join(filter(None, parts)))

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Show the sample of this validation.

        Args:
            trainer: Trainer of the run.
            val_loss: Validation loss in nats per character, not used.
        """
        self.print(f"    {printable(self.samples.last)}", style="dim")
