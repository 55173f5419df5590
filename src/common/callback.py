"""Interfaces of a training: a logger for metrics and files, and callbacks for all other events."""

from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """Destination of the metrics and files of a run."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log the values of metrics at an optimizer step."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file of the run's directory, below `folder` of its artifacts."""


class Callback:
    """Methods that a trainer calls, all empty; a subclass overrides some (as `lightning.pytorch.Callback`).

    Callbacks are called in the order of the list given to the trainer, between two steps, and never change
    what a step computes.
    """

    def on_train_start(self, trainer: Any) -> None:
        """Handle the start of training: before the first step, after a checkpoint has been restored."""

    def on_log(self, trainer: Any, metrics: dict[str, float]) -> None:
        """Handle the metrics that the trainer logs, at `trainer.step`."""

    def on_validation_end(self, trainer: Any, val_loss: float) -> None:
        """Handle the end of each validation whose loss in nats is finite."""

    def on_steps_end(self, trainer: Any) -> None:
        """Handle the end of the last step, also if SIGTERM follows, before the final validation."""

    def on_train_end(self, trainer: Any, result: Any) -> None:
        """Handle the end of training, by itself or by Ctrl-C; `result` is its TrainResult."""
