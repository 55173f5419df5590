"""Learning-rate schedules: a factor of the peak learning rate at each step.

Every schedule begins with a linear warm-up: step k = 1, 2, ... gets at most k / warmup_steps. Goyal et al.
(2017), "Accurate, large minibatch SGD".
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import cos, pi

from src.rnn.optimizers import check_fields


@dataclass
class Schedule(ABC):
    """Base class: what `schedule._target_` of the configuration may name is a subclass.

    A schedule has no state by default. A subclass that has one overrides `on_validation`, `state` and
    `restore`.

    Args:
        warmup_steps: Steps of the linear warm-up.
    """

    warmup_steps: int = field(metadata={"ge": 0, "integer": True})

    def __post_init__(self) -> None:
        """Check the hyperparameters; see `check_fields`."""
        check_fields(self)

    @abstractmethod
    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        """Return the factor of the peak learning rate.

        Args:
            step: 1, 2, ...
            progress: Used part of the budget, in [0, 1].
            epoch: `progress` in epochs of max_epochs.
        """

    def on_validation(self, improved: bool) -> None:  # noqa: B027 - most schedules have nothing to do here
        """Take notice of an evaluation: whether the validation loss improved."""

    def state(self) -> dict[str, float]:
        """Return what a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, float]) -> None:  # noqa: B027 - as above
        """Continue from the `state` of an equal schedule."""


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Return the factor of the warm-up; 1 with warmup_steps=0.

    >>> [warmup_factor(step, 4) for step in (1, 2, 3, 4, 5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


@dataclass
class Constant(Schedule):
    """The peak throughout."""

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        return warmup_factor(step, self.warmup_steps)


@dataclass
class Cosine(Schedule):
    """f + (1 - f) (1 + cos(pi progress)) / 2 with f = min_lr_factor.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without restarts.

    >>> schedule = Cosine(warmup_steps=0, min_lr_factor=0.2)
    >>> [round(schedule.lr_factor(1, progress, 0.0), 3) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.6, 0.2]
    """

    min_lr_factor: float = field(metadata={"ge": 0, "le": 1})

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        along = self.min_lr_factor + (1 - self.min_lr_factor) * (1 + cos(pi * min(1.0, progress))) / 2
        return warmup_factor(step, self.warmup_steps) * along


@dataclass
class Decay(Schedule):
    """The peak for the first `start_epoch` epochs, then multiplied by `factor` at the end of each.

    As char-rnn's train.lua does (learning_rate_decay, learning_rate_decay_after).

    >>> schedule = Decay(warmup_steps=0, factor=0.5, start_epoch=2)
    >>> [schedule.lr_factor(1, 0.0, epoch) for epoch in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    factor: float = field(metadata={"gt": 0, "le": 1})
    start_epoch: int = field(metadata={"ge": 0, "integer": True})

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        done = int(epoch + 1e-9)  # whole epochs; the sum of many steps may fall short of one
        return warmup_factor(step, self.warmup_steps) * self.factor ** max(0, done - self.start_epoch + 1)


@dataclass
class Plateau(Schedule):
    """The peak, multiplied by `factor` after every `patience` evaluations without improvement.

    Never below `min_lr_factor`. (torch.optim.lr_scheduler.ReduceLROnPlateau waits one more.)

    >>> schedule, factors = Plateau(warmup_steps=0, factor=0.5, patience=2, min_lr_factor=0.1), []
    >>> for improved in (False, False, True, False, False):
    ...     schedule.on_validation(improved)
    ...     factors.append(schedule.lr_factor(1, 0.0, 0.0))
    >>> factors
    [1.0, 0.5, 0.5, 0.5, 0.25]
    """

    factor: float = field(metadata={"gt": 0, "lt": 1})
    patience: int = field(metadata={"ge": 1, "integer": True})
    min_lr_factor: float = field(metadata={"ge": 0, "le": 1})
    scale: float = field(default=1.0, init=False)
    wait_count: int = field(default=0, init=False)

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        return warmup_factor(step, self.warmup_steps) * self.scale

    def on_validation(self, improved: bool) -> None:
        self.wait_count = 0 if improved else self.wait_count + 1
        if self.wait_count >= self.patience:
            self.scale = max(self.min_lr_factor, self.scale * self.factor)
            self.wait_count = 0

    def state(self) -> dict[str, float]:
        """Return the state to checkpoint."""
        return {"scale": self.scale, "wait_count": self.wait_count}

    def restore(self, state: dict[str, float]) -> None:
        """Restore a state that `state` returned."""
        self.scale, self.wait_count = state["scale"], int(state["wait_count"])
