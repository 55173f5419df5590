"""The state of a training: counters, best weights, last good weights, and all of it for checkpoints."""

from dataclasses import dataclass, field
from math import inf
from typing import Any

from src.common.errors import DivergenceError, UserError
from src.config.schema import Config
from src.rnn.parameters import Array


@dataclass(frozen=True)
class TrainState:
    """Everything from which a training can resume as if it had never been interrupted.

    Attributes:
        state: All state that is not an array, serializable as JSON, as in `checkpoint_schema`.
        arrays: Arrays by name. They are views of the arrays in use and must be written or copied before the
            next step.
    """

    state: dict[str, Any]
    arrays: dict[str, Array]

    @property
    def step(self) -> int:
        """Number of the last optimizer step."""
        return int(self.state["counters"]["step"])

    def check_arrays(self, expected: dict[str, Array]) -> None:
        """Check that the arrays belong to a training; additional arrays are allowed.

        Args:
            expected: Arrays of the trainer by name.

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
    """Sums over the optimizer steps since the last point of the training curves.

    Attributes:
        steps: Number of steps; those with a loss or gradient that is not finite are not counted.
        loss: Sum of the training losses, in nats per character.
        norm: Sum of the global gradient norms before clipping.
        clipped: Number of steps in which the gradient was clipped.
    """

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    clipped: int = 0


@dataclass
class TrainCounters:
    """Numbers that change from step to step.

    Attributes:
        step: Number of the last optimizer step.
        validated: Step of the last validation; 0: none yet.
        lr: Learning rate of the last step.
        seconds: Training time so far in seconds, including validations and the time before an interruption.
        step_seconds: Part of it that was spent in optimizer steps, in seconds.
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
        """Return the counters that a checkpoint has recorded.

        Args:
            state: Result of `dataclasses.asdict` of the counters.

        Returns:
            Equal counters.

        Raises:
            KeyError: The state has no sums.
            TypeError: The state has other fields.
        """
        return cls(**{**state, "running": RunningSums(**state["running"])})

    def spent_budget(self, config: Config, max_steps: int) -> str:
        """Return the stop reason of a training whose budget is spent.

        Args:
            config: Validated config of the run, with the limit `max_seconds`.
            max_steps: Number of optimizer steps in `max_epochs`.

        Returns:
            `max_seconds` or `max_epochs`, or "" if some of the budget is left.
        """
        if config.max_seconds is not None and self.seconds >= config.max_seconds:
            return "max_seconds"
        return "max_epochs" if self.step >= max_steps else ""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training.

    Attributes:
        params: Weights with the lowest validation loss, float32, shape (n,).
        val_loss: Their validation loss, in nats per character.
        best_step: Step of that validation.
        steps: Number of optimizer steps of the whole training.
        epochs: The same in epochs.
        seconds: Time of the whole training in seconds, including validations.
        chars_per_second: Throughput of the optimizer steps alone, in characters per second.
        stop_reason: `max_epochs`, `max_seconds`, `early stopping`, `interrupted`, or the reason that a
            callback gave.
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
    """The weights with the lowest validation loss, and the wait for an improvement.

    Args:
        params: Weights, shape (n,), which are copied.

    Attributes:
        params: Copy of the best weights, shape (n,); the initial ones before the first validation.
        loss: Their validation loss, in nats per character; infinity before the first validation.
        step: Step of that validation; 0: none yet.
        best_for_patience: Last loss that counted as an improvement, in nats per character.
        wait_count: Number of validations since then.
    """

    def __init__(self, params: Array) -> None:
        self.params = params.copy()
        self.loss = inf
        self.step = 0
        self.wait_count = 0
        self.best_for_patience = inf

    def update(self, loss: float, params: Array, step: int, min_delta: float) -> bool:
        """Compare the weights of a validation with the best ones.

        The weights with the lowest loss are kept also if the loss is less than `min_delta` lower.

        Args:
            loss: Validation loss, in nats per character.
            params: Weights that were validated, shape (n,); they are copied if they are the best.
            step: Step of the validation.
            min_delta: Smallest decrease of the loss that counts as an improvement, in nats per character, >=
                0.

        Returns:
            Whether the loss was an improvement.
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
        """Return all state except the weights.

        Returns:
            Values by attribute name, serializable as JSON.
        """
        return {name: value for name, value in vars(self).items() if name != "params"}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state that `state` returned.

        Args:
            state: Values by attribute name, without `params`.
        """
        vars(self).update(state)


class Rollback:
    """The last good arrays of a training, and how often they were restored.

    The arrays of the last validation are good; before the first validation, the initial ones. State that
    changes only at a validation (the best weights, early stopping, the schedule) has not changed since then
    and needs no restoring. With on_divergence=stop nothing is saved.

    Args:
        config: Validated config of the run, with `on_divergence`, `max_rollbacks` and `rollback_lr_factor`.

    Attributes:
        enabled: Whether on_divergence=rollback.
        good: Copies of the last good arrays by name.
        good_at: Step after which they were copied.
        count: Number of rollbacks so far.
        scale: Factor on the learning rate, from these rollbacks; 1 before the first.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.enabled = config.on_divergence == "rollback"
        self.good: dict[str, Array] = {}
        self.good_at = 0
        self.count = 0
        self.scale = 1.0

    def save(self, arrays: dict[str, Array], step: int) -> None:
        """Copy arrays that are good, unless rollback is off.

        Args:
            arrays: Arrays of the training by name.
            step: Step after which they are good.
        """
        if not self.enabled:
            return
        self.good_at = step
        if not self.good:
            self.good = {name: array.copy() for name, array in arrays.items()}
        for name, array in arrays.items():
            self.good[name][...] = array

    def restore_last_good(self, arrays: dict[str, Array], step: int, what: str) -> None:
        """Overwrite the arrays of a training with the last good ones, and lower the learning rate.

        Args:
            arrays: Arrays of the training by name.
            step: Step that diverged.
            what: Values that were not finite, for the error message.

        Raises:
            DivergenceError: Rollback is off, or was already done `max_rollbacks` times.
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
        """Return all state except the arrays.

        Returns:
            `count`, `scale` and `good_at`, serializable as JSON.
        """
        return {"count": self.count, "scale": self.scale, "good_at": self.good_at}

    def restore(self, state: dict[str, Any], good: dict[str, Array]) -> None:
        """Restore the state that `state` returned, and the good arrays.

        Args:
            state: `count`, `scale` and `good_at`.
            good: Arrays by name that were good after step `good_at`; they are copied.
        """
        self.count, self.scale = state["count"], state["scale"]
        self.save(good, state["good_at"])
