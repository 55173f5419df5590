"""Divergence: a loss, a gradient or weights that are not finite, and the rollback from it."""

from typing import Any

from src.common.errors import DivergenceError
from src.config.schema import Config
from src.rnn.parameters import Array

Arrays = dict[str, Array]


class Rollback:
    """The last good arrays of a training, and how often they have been restored.

    With on_divergence=stop nothing is saved. The arrays of the last validation are good, before the first one
    the initial ones. What changes only at a validation (the best weights, early stopping, the schedule) is
    still as it was then and need not be restored.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.enabled = config.on_divergence == "rollback"
        self.good: Arrays = {}
        self.good_at = 0  # step
        self.count = 0
        self.scale = 1.0  # of the learning rate

    def save(self, arrays: Arrays, step: int) -> None:
        """Copy arrays that are good after `step`."""
        if not self.enabled:
            return
        self.good_at = step
        if not self.good:
            self.good = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            self.good[name][...] = array

    def restore_last_good(self, arrays: Arrays, step: int, what: str) -> None:
        """Overwrite `arrays` with the last good ones and lower the learning rate.

        Args:
            arrays: The arrays of the training, by name.
            step: The step that diverged.
            what: What was not finite, for the error.

        Raises:
            DivergenceError: When rollback is off, or has been done max_rollbacks times.
        """
        if not self.enabled or self.count >= self.config.max_rollbacks:
            raise self.divergence_error(step, what)
        self.count += 1
        self.scale *= self.config.rollback_lr_factor
        for name, array in arrays.items():
            array[...] = self.good[name]

    def divergence_error(self, step: int, what: str) -> DivergenceError:
        """Build the error that says what to try."""
        config = self.config
        clip = "null" if config.clip is None else f"{config.clip:g}"
        after = f" after {self.count} rollbacks" if self.count else ""
        way_back = "" if self.enabled else ", or on_divergence=rollback"
        lr = f"{config.lr:g}" + (f" times {self.scale:g}" if self.count else "")
        return DivergenceError(
            f"lr: expected training to stay finite, got {what} at step {step}{after}: try a smaller lr "
            f"(now {lr}) or clip (now {clip}){way_back}"
        )

    def state(self) -> dict[str, Any]:
        """Return everything but the arrays, ready for JSON."""
        return {"count": self.count, "scale": self.scale, "good_at": self.good_at}

    def restore(self, state: dict[str, Any], good: Arrays) -> None:
        """Restore what `state` returned; `good` are the arrays of step good_at."""
        self.count, self.scale = state["count"], state["scale"]
        self.save(good, state["good_at"])
