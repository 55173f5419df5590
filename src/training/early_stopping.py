"""The best weights so far, and how long there have been none better: what early stopping goes by.

How long a training may take, and when that is spent.
"""

from math import ceil, inf
from typing import Any

from src.config.schema import Config
from src.data.batches import Batches
from src.rnn.parameters import Array


class Best:
    """The lowest validation loss so far, its weights, and for how long there was none to count as better."""

    def __init__(self, flat: Array) -> None:
        self.flat = flat.copy()
        self.loss = inf
        self.step = 0
        self.waited = 0
        self.reference = inf

    def observe(self, loss: float, flat: Array, step: int, min_delta: float) -> bool:
        """Take note of an evaluation; True when it was better by at least min_delta."""
        if loss < self.loss:
            self.loss, self.step = loss, step
            self.flat[:] = flat
        improved = loss < self.reference - min_delta
        if improved:
            self.reference = loss
        self.waited = 0 if improved else self.waited + 1
        return improved

    def state(self) -> dict[str, Any]:
        """All but the weights, ready for JSON."""
        return {"loss": self.loss, "step": self.step, "waited": self.waited, "reference": self.reference}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` said."""
        self.loss, self.step = state["loss"], state["step"]
        self.waited, self.reference = state["waited"], state["reference"]


def total_steps(config: Config, batches: Batches) -> int:
    """Steps of max_epochs."""
    return max(1, ceil(config.max_epochs * batches.steps_per_epoch))


def budget_spent(config: Config, step: int, total: int, waited: int, seconds: float) -> str:
    """Why training ends behind this step, "" where it goes on. waited: evaluations without a better one."""
    if config.patience is not None and waited >= config.patience:
        return "early stopping"
    if config.max_seconds is not None and seconds >= config.max_seconds:
        return "max_seconds"
    return "max_epochs" if step >= total else ""
