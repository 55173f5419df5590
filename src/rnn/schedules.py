"""Learning-rate schedules: a factor of the peak learning rate at each step.

Every schedule begins with a linear warm-up: in steps k = 1, 2, ..., warmup_steps the factor is multiplied by
k / warmup_steps. Goyal et al. (2017), "Accurate, large minibatch SGD". The defaults of the settings, with
their reasons, are in conf/schedule/.
"""

from dataclasses import dataclass, field
from math import cos, pi

from src.rnn.optimizers import check_fields


@dataclass
class Schedule:
    """Base class of the schedules: the warm-up; `schedule._target_` of the config names a subclass.

    A subclass overrides `lr_factor`; one with a state also `on_validation`, `state` and `restore`.

    Attributes:
        warmup_steps: Steps of the linear warm-up, >= 0; 0 for none.

    Examples:
        >>> schedule = Schedule(warmup_steps=4)
        >>> [schedule.lr_factor(step, 0.0, 0.0) for step in (1, 2, 3, 4, 5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    warmup_steps: int = field(metadata={"ge": 0})

    def __post_init__(self) -> None:
        """Check the settings; see `check_fields`."""
        check_fields(self)

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        """Return the factor of the peak learning rate: by default only that of the warm-up.

        Args:
            step: Step number 1, 2, ...
            progress: Used part of the training budget, from 0 to 1.
            epoch: `progress` in epochs: progress times max_epochs.

        Returns:
            Factor from 0 to 1.
        """
        return min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0

    def on_validation(self, improved: bool) -> None:
        """Update the state after a validation; most schedules have no state.

        Args:
            improved: Whether the validation loss improved.
        """

    def state(self) -> dict[str, float]:
        """Return the state that a checkpoint saves.

        Returns:
            Numbers by name; empty if the schedule has no state.
        """
        return {}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from a state.

        Args:
            state: What `state` of a schedule with the same settings returned.
        """


@dataclass
class Constant(Schedule):
    """Constant schedule: the peak learning rate after the warm-up."""


@dataclass
class Cosine(Schedule):
    """Cosine schedule: half a cosine from the peak learning rate down to a share of it.

        f + (1 - f) (1 + cos(pi progress)) / 2        f = min_lr_factor

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without restarts.

    Attributes:
        min_lr_factor: Factor at the end of training, from 0 to 1.

    Examples:
        >>> schedule = Cosine(warmup_steps=0, min_lr_factor=0.2)
        >>> [round(schedule.lr_factor(1, progress, 0.0), 3) for progress in (0.0, 0.5, 1.0)]
        [1.0, 0.6, 0.2]
    """

    min_lr_factor: float = field(metadata={"ge": 0, "le": 1})

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        """Return the factor of the warm-up times that of the cosine.

        Args:
            step: Step number 1, 2, ...
            progress: Used part of the training budget, from 0 to 1; larger values count as 1.
            epoch: Unused.

        Returns:
            Factor from 0 to 1.
        """
        along = self.min_lr_factor + (1 - self.min_lr_factor) * (1 + cos(pi * min(1.0, progress))) / 2
        return super().lr_factor(step, progress, epoch) * along


@dataclass
class Decay(Schedule):
    """Decay schedule: the peak for the first epochs, then multiplied by `factor` at the end of each epoch.

    As in train.lua of char-rnn (learning_rate_decay, learning_rate_decay_after).

    Attributes:
        factor: Factor per epoch, > 0 and <= 1.
        start_epoch: Number of epochs at the peak, >= 0.

    Examples:
        >>> schedule = Decay(warmup_steps=0, factor=0.5, start_epoch=2)
        >>> [schedule.lr_factor(1, 0.0, epoch) for epoch in range(4)]
        [1.0, 1.0, 0.5, 0.25]
    """

    factor: float = field(metadata={"gt": 0, "le": 1})
    start_epoch: int = field(metadata={"ge": 0})

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        """Return the factor of the warm-up times that of the finished epochs.

        Args:
            step: Step number 1, 2, ...
            progress: Unused.
            epoch: Number of epochs so far, with its fraction.

        Returns:
            Factor from 0 to 1.
        """
        done = int(epoch + 1e-9)  # whole epochs; the sum of many steps may fall short of one
        return super().lr_factor(step, progress, epoch) * self.factor ** max(0, done - self.start_epoch + 1)


@dataclass
class Plateau(Schedule):
    """Plateau schedule: the peak, multiplied by a factor after some validations without improvement.

    After every `patience` validations without improvement the learning rate is multiplied by `factor`. The
    factor of the peak is never below `min_lr_factor`. (torch.optim.lr_scheduler.ReduceLROnPlateau waits for
    one more validation.)

    Attributes:
        factor: Factor of each reduction, > 0 and < 1.
        patience: Validations in a row without improvement before a reduction, >= 1.
        min_lr_factor: Smallest product of all reductions, from 0 to 1.
        scale: State: product of the reductions so far.
        wait_count: State: validations without improvement since the last improvement or reduction.

    Examples:
        >>> schedule, factors = Plateau(warmup_steps=0, factor=0.5, patience=2, min_lr_factor=0.1), []
        >>> for improved in (False, False, True, False, False):
        ...     schedule.on_validation(improved)
        ...     factors.append(schedule.lr_factor(1, 0.0, 0.0))
        >>> factors
        [1.0, 0.5, 0.5, 0.5, 0.25]
    """

    factor: float = field(metadata={"gt": 0, "lt": 1})
    patience: int = field(metadata={"ge": 1})
    min_lr_factor: float = field(metadata={"ge": 0, "le": 1})
    scale: float = field(default=1.0, init=False)
    wait_count: int = field(default=0, init=False)

    def lr_factor(self, step: int, progress: float, epoch: float) -> float:
        """Return the factor of the warm-up times that of the reductions so far.

        Args:
            step: Step number 1, 2, ...
            progress: Unused.
            epoch: Unused.

        Returns:
            Factor from 0 to 1.
        """
        return super().lr_factor(step, progress, epoch) * self.scale

    def on_validation(self, improved: bool) -> None:
        """Count validations without improvement, and reduce the factor after `patience` of them.

        Args:
            improved: Whether the validation loss improved.
        """
        self.wait_count = 0 if improved else self.wait_count + 1
        if self.wait_count >= self.patience:
            self.scale = max(self.min_lr_factor, self.scale * self.factor)
            self.wait_count = 0

    def state(self) -> dict[str, float]:
        """Return the state that a checkpoint saves.

        Returns:
            `scale` and `wait_count`.
        """
        return {"scale": self.scale, "wait_count": self.wait_count}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from a state.

        Args:
            state: What `state` of a schedule with the same settings returned.
        """
        self.scale, self.wait_count = state["scale"], int(state["wait_count"])
