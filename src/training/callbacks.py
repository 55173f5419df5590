"""Protocols of a training: a logger for metrics and files, and callbacks for all other events.

A callback is an object with the five methods of `Callback`; one that needs only some of them inherits the
empty ones of `BaseCallback` (as `lightning.pytorch.Callback`). Callbacks are called in the order of the list
given to the trainer, between two steps, and never change what a step computes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from src.common.callback import BaseCallback
from src.common.files import write_text

if TYPE_CHECKING:
    from src.training.train_state import TrainResult
    from src.training.trainer import Trainer


class Logger(Protocol):
    """Destination of the metrics and files of a run."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log the values of metrics at an optimizer step."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file of the run's directory, below `folder` of its artifacts."""


class NullLogger:
    """Logs nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Do nothing."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing."""


class Callback(Protocol):
    """Methods that a trainer calls; `BaseCallback` implements all of them as empty methods."""

    def on_train_start(self, trainer: "Trainer") -> None:
        """Handle the start of training: before the first step, after a checkpoint has been restored."""

    def on_log(self, trainer: "Trainer", metrics: dict[str, float]) -> None:
        """Handle the metrics that the trainer logs, at `trainer.step`."""

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Handle the end of each validation whose loss in nats is finite."""

    def on_steps_end(self, trainer: "Trainer") -> None:
        """Handle the end of the last step, also if SIGTERM follows, before the final validation."""

    def on_train_end(self, trainer: "Trainer", result: "TrainResult") -> None:
        """Handle the end of training, by itself or by Ctrl-C."""


class SampleLogger(BaseCallback):
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
