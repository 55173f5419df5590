"""The state of a training: counters, best weights, last good weights, and all of it for checkpoints."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from src.common.errors import DivergenceError, UserError
from src.config.schema import Config
from src.rnn.parameters import Array


@dataclass(frozen=True)
class TrainState:
    """Everything from which a training continues as if it had never been interrupted.

    Attributes:
        state: All that is not an array, ready for JSON.
        arrays: By name; views of the arrays in use, to be written or copied before the next step.
    """

    state: dict[str, Any]
    arrays: dict[str, Array]

    @property
    def step(self) -> int:
        """The last optimizer step."""
        return int(self.state["counters"]["step"])

    def check_arrays(self, expected: dict[str, Array]) -> None:
        """Check that the arrays are those of a training; there may be more than are expected.

        Args:
            expected: Of the trainer.

        Raises:
            UserError: An array is missing, or has another shape or dtype.
        """
        for name, array in expected.items():
            found = self.arrays.get(name)
            if found is None or (found.shape, found.dtype) != (array.shape, array.dtype):
                got = "none" if found is None else f"one of shape {found.shape} and type {found.dtype}"
                raise UserError(
                    f"resume: expected a checkpoint of this training, with an array {name} of shape "
                    f"{array.shape} and type {array.dtype}, got {got}"
                )


@dataclass
class RunningSums:
    """Sums since the last point of the training curves."""

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    clipped: int = 0

    def metrics(self, lr: float, chars_per_second: float) -> dict[str, float]:
        """Return the means by metric name, with the learning rate and the throughput."""
        return {
            "train/loss": self.loss / self.steps,
            "grad/norm": self.norm / self.steps,
            "grad/clip_fraction": self.clipped / self.steps,
            "lr": lr,
            "throughput/chars_per_second": chars_per_second,
        }


@dataclass
class TrainCounters:
    """Numbers that change from step to step.

    Attributes:
        step: The last optimizer step.
        validated: The step of the last validation.
        lr: Learning rate of the last step.
        seconds: Training time so far, validations included.
        step_seconds: Seconds of it in optimizer steps.
        reset_state: Whether the next batch begins from a zero state, at any position in the text.
        running: Sums since the last point of the training curves.
    """

    step: int = 0
    validated: int = 0
    lr: float = 0.0
    seconds: float = 0.0
    step_seconds: float = 0.0
    reset_state: bool = False
    running: RunningSums = field(default_factory=RunningSums)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "TrainCounters":
        """Restore the counters from `dataclasses.asdict` of others."""
        return cls(**{**state, "running": RunningSums(**state["running"])})

    def pop_running(self) -> RunningSums:
        """Return the sums since the last point of the training curves, and begin new ones."""
        sums, self.running = self.running, RunningSums()
        return sums

    def spent_budget(self, config: Config, max_steps: int) -> str:
        """Return the stop reason of a training whose budget is spent, "" while there is some left."""
        if config.max_seconds is not None and self.seconds >= config.max_seconds:
            return "max_seconds"
        return "max_epochs" if self.step >= max_steps else ""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training.

    Attributes:
        params: The weights (n,) with the lowest validation loss.
        val_loss: That loss, in nats.
        best_step: The step at which it was found.
        steps: Optimizer steps of the whole training.
        epochs: The same in epochs.
        seconds: Time of the whole training, validations included.
        chars_per_second: Characters trained on per second of the optimizer steps alone.
        stop_reason: `max_epochs`, `max_seconds`, `early stopping`, `interrupted`, or what a callback gave.
    """

    params: Array
    val_loss: float
    best_step: int
    steps: int
    epochs: float
    seconds: float
    chars_per_second: float
    stop_reason: str


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
        return {name: value for name, value in vars(self).items() if name != "params"}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        vars(self).update(state)


class Rollback:
    """The last good arrays of a training, and how often they have been restored.

    With on_divergence=stop nothing is saved. The arrays of the last validation are good, before the first one
    the initial ones. What changes only at a validation (the best weights, early stopping, the schedule) is
    still as it was then and need not be restored.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.enabled = config.on_divergence == "rollback"
        self.good: dict[str, Array] = {}
        self.good_at = 0  # step
        self.count = 0
        self.scale = 1.0  # of the learning rate

    def save(self, arrays: dict[str, Array], step: int) -> None:
        """Copy arrays that are good after `step`."""
        if not self.enabled:
            return
        self.good_at = step
        if not self.good:
            self.good = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            self.good[name][...] = array

    def restore_last_good(self, arrays: dict[str, Array], step: int, what: str) -> None:
        """Overwrite `arrays` with the last good ones and lower the learning rate.

        Args:
            arrays: The arrays of the training, by name.
            step: The step that diverged.
            what: What was not finite, for the error.

        Raises:
            DivergenceError: When rollback is off, or has been done max_rollbacks times.
        """
        if not self.enabled or self.count >= self.config.max_rollbacks:
            config = self.config
            clip = "null" if config.clip is None else f"{config.clip:g}"
            after = f" after {self.count} rollbacks" if self.count else ""
            way_back = "" if self.enabled else ", or on_divergence=rollback"
            lr = f"{config.lr:g}" + (f" times {self.scale:g}" if self.count else "")
            raise DivergenceError(
                f"lr: expected training to stay finite, got {what} at step {step}{after}: try a smaller lr "
                f"(now {lr}) or clip (now {clip}){way_back}"
            )
        self.count += 1
        self.scale *= self.config.rollback_lr_factor
        for name, array in arrays.items():
            array[...] = self.good[name]

    def state(self) -> dict[str, Any]:
        """Return everything but the arrays, ready for JSON."""
        return {"count": self.count, "scale": self.scale, "good_at": self.good_at}

    def restore(self, state: dict[str, Any], good: dict[str, Array]) -> None:
        """Restore what `state` returned; `good` are the arrays of step good_at."""
        self.count, self.scale = state["count"], state["scale"]
        self.save(good, state["good_at"])
