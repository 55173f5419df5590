"""The best weights so far, and how long there have been none better: what early stopping goes by."""

from math import inf
from typing import Any

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
