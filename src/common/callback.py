"""Interfaces of a training: a logger for metrics and files, and callbacks for all other events."""

from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """Destination of the metrics and files of a run."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log the values of metrics at an optimizer step.

        Args:
            metrics: Metric name to value, each in the unit of its metric (nats per character for a loss).
            step: Number of optimizer steps taken, the x-coordinate of the points.
        """

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file of the run directory.

        Args:
            path: The file, which must be in the run directory.
            folder: Folder of the run's artifacts that receives the file; "" (the default) for the top folder.
        """


class Callback:
    """Methods that a trainer calls, all empty; a subclass overrides some (as `lightning.pytorch.Callback`).

    Callbacks are called between two steps, in the order of the list that the trainer received. They never
    change the computation of a step.
    """

    def on_train_start(self, trainer: Any) -> None:
        """Handle the start of training: before the first step, after a checkpoint has been restored.

        Args:
            trainer: The `Trainer` that calls.
        """

    def on_log(self, trainer: Any, metrics: dict[str, float]) -> None:
        """Handle the metrics that the trainer logs at a logging step.

        Args:
            trainer: The `Trainer` that calls; `trainer.step` is the optimizer step of the metrics.
            metrics: Metric name to value, as in `Logger.log_metrics`.
        """

    def on_validation_end(self, trainer: Any, val_loss: float) -> None:
        """Handle the end of a validation whose loss is finite.

        Args:
            trainer: The `Trainer` that calls.
            val_loss: Mean loss on the validation split, nats per character.
        """

    def on_steps_end(self, trainer: Any) -> None:
        """Handle the end of the last step, before the final validation; also after SIGTERM.

        Args:
            trainer: The `Trainer` that calls.
        """

    def on_train_end(self, trainer: Any, result: Any) -> None:
        """Handle the end of training, whether it ended by itself or by Ctrl-C.

        Args:
            trainer: The `Trainer` that calls.
            result: The `TrainResult` of the training, with the kept weights.
        """
