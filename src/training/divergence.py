"""Divergence: a loss, gradient or weight that is no number, and the way back from it."""

from typing import Any

from src.common.errors import Diverged
from src.config.schema import Config
from src.rnn.parameters import Array

Arrays = dict[str, Array]


class Rollback:
    """The last good arrays of a training, and how often it has gone back to them.

    With on_divergence=stop nothing is kept. Good are the arrays of the last evaluation, before the first one
    those of the beginning. What changes only at an evaluation (the best weights, early stopping, the
    schedule) is still as it was then and needs no way back.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.on = config.on_divergence == "rollback"
        self.good: Arrays = {}
        self.good_at = 0  # step
        self.count = 0
        self.scale = 1.0  # of the learning rate

    def keep(self, arrays: Arrays, step: int) -> None:
        """These are good, as they are behind `step`."""
        if not self.on:
            return
        self.good_at = step
        if not self.good:
            self.good = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            self.good[name][...] = array

    def back(self, arrays: Arrays, step: int, what: str) -> None:
        """Put the last good arrays in the place of `arrays`. Raises Diverged when that is not wanted, or has
        been done often enough."""
        if not self.on or self.count >= self.config.max_rollbacks:
            raise self.diverged(step, what)
        self.count += 1
        self.scale *= self.config.rollback_lr_factor
        for name, array in arrays.items():
            array[...] = self.good[name]

    def diverged(self, step: int, what: str) -> Diverged:
        config = self.config
        clip = "null" if config.clip is None else f"{config.clip:g}"
        after = f" after {self.count} rollbacks" if self.count else ""
        way_back = "" if self.on else ", or on_divergence=rollback"
        lr = f"{config.lr:g}" + (f" times {self.scale:g}" if self.count else "")
        return Diverged(
            f"lr: expected training to stay finite, got {what} at step {step}{after}: try a smaller lr "
            f"(now {lr}) or clip (now {clip}){way_back}"
        )

    def state(self) -> dict[str, Any]:
        """All but the arrays, ready for JSON."""
        return {"count": self.count, "scale": self.scale, "good_at": self.good_at}

    def restore(self, state: dict[str, Any], good: Arrays) -> None:
        """Go on from what `state` said. good: the arrays of step good_at."""
        self.count, self.scale = state["count"], state["scale"]
        self.keep(good, state["good_at"])
