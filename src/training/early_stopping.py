"""The best weights so far, early stopping, and the budget of a training."""

from math import inf
from typing import TYPE_CHECKING, Any

from src.common.callback import BaseCallback
from src.config.schema import Config
from src.rnn.parameters import Array

if TYPE_CHECKING:
    from src.training.trainer import Trainer

EARLY_STOPPING = "early stopping"  # the stop reason


class BestWeights:
    """The weights with the lowest validation loss.

    Attributes:
        params: Those weights, a copy, (n,).
        loss: Their loss in nats.
        step: The step at which they were validated.
        best_for_patience: The last loss that counted as an improvement.
        wait_count: Validations since then.
    """

    def __init__(self, params: Array) -> None:
        self.params = params.copy()
        self.loss = inf
        self.step = 0
        self.wait_count = 0
        self.best_for_patience = inf

    def update(self, loss: float, params: Array, step: int, min_delta: float) -> bool:
        """Take a validation into account.

        Args:
            loss: Validation loss in nats.
            params: The weights (n,) that have it.
            step: Their step.
            min_delta: By how much a loss must be lower to count as an improvement.

        Returns:
            Whether it was an improvement. (The lowest loss is kept in any case.)
        """
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.params[:] = params
        improved = loss < self.best_for_patience - min_delta
        if improved:
            self.best_for_patience = loss
        self.wait_count = 0 if improved else self.wait_count + 1
        return improved

    def state(self) -> dict[str, Any]:
        """Return everything but the weights, ready for JSON."""
        return {
            "loss": self.loss,
            "step": self.step,
            "wait_count": self.wait_count,
            "best_for_patience": self.best_for_patience,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.loss, self.step = state["loss"], state["step"]
        self.wait_count, self.best_for_patience = state["wait_count"], state["best_for_patience"]


class EarlyStopping(BaseCallback):
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


def budget_stop_reason(config: Config, step: int, max_steps: int, seconds: float) -> str:
    """Return the stop reason of a training whose budget is spent, "" while there is some left."""
    if config.max_seconds is not None and seconds >= config.max_seconds:
        return "max_seconds"
    return "max_epochs" if step >= max_steps else ""
