"""The empty methods of a training callback, for those that need only some of them."""

from typing import Any


class BaseCallback:
    """Does nothing; the protocol is `src.training.callbacks.Callback`."""

    def on_train_start(self, trainer: Any) -> None:
        """Do nothing before the first step."""

    def on_log(self, trainer: Any, metrics: dict[str, float]) -> None:
        """Do nothing with logged metrics."""

    def on_validation_end(self, trainer: Any, val_loss: float) -> None:
        """Do nothing after a validation."""

    def on_steps_end(self, trainer: Any) -> None:
        """Do nothing after the last step."""

    def on_train_end(self, trainer: Any, result: Any) -> None:
        """Do nothing at the end."""
