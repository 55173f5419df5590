"""Learning rate as a share of its peak, along a training run.

Every schedule begins with a linear warm-up: step k = 1, 2, ... gets at most k / warmup. Goyal et al.
(2017), "Accurate, large minibatch SGD".
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Protocol


class Schedule(Protocol):
    def share(self, step: int, progress: float) -> float:
        """Share of the peak learning rate at step 1, 2, ...; progress in [0, 1]: used part of the budget."""

    def observe(self, improved: bool) -> None:
        """Told after each evaluation whether the validation loss improved."""

    def state(self) -> dict[str, float]:
        """What it remembers of the evaluations, for one that is to go on."""

    def restore(self, state: dict[str, float]) -> None:
        """Go on from what `state` of an equal schedule said."""


def warmup_share(step: int, warmup: int) -> float:
    """What the warm-up leaves of the peak; all of it with warmup=0.

    >>> [warmup_share(step, 4) for step in (1, 2, 3, 4, 5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return min(1.0, step / warmup) if warmup else 1.0


class Forgetful:
    """What a schedule shares that goes by the step alone: it looks at no evaluation and remembers none."""

    def observe(self, improved: bool) -> None:
        pass

    def state(self) -> dict[str, float]:
        return {}

    def restore(self, state: dict[str, float]) -> None:
        pass


@dataclass(frozen=True)
class Constant(Forgetful):
    """The peak throughout."""

    warmup: int

    def share(self, step: int, progress: float) -> float:
        return warmup_share(step, self.warmup)


@dataclass(frozen=True)
class Cosine(Forgetful):
    """final + (1 - final) (1 + cos(pi progress)) / 2.

    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without restarts.

    >>> schedule = Cosine(warmup=0, final=0.2)
    >>> [round(schedule.share(1, progress), 3) for progress in (0.0, 0.5, 1.0)]
    [1.0, 0.6, 0.2]
    """

    warmup: int
    final: float

    def share(self, step: int, progress: float) -> float:
        along = self.final + (1 - self.final) * (1 + cos(pi * min(1.0, progress))) / 2
        return warmup_share(step, self.warmup) * along


@dataclass(frozen=True)
class Decay(Forgetful):
    """The peak for the first `after` of `epochs` epochs, then multiplied by `factor` at the end of each.

    As char-rnn's train.lua does (learning_rate_decay, learning_rate_decay_after).

    >>> schedule = Decay(warmup=0, factor=0.5, after=2, epochs=4)
    >>> [schedule.share(1, epoch / 4) for epoch in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """

    warmup: int
    factor: float
    after: int
    epochs: float

    def share(self, step: int, progress: float) -> float:
        done = int(progress * self.epochs + 1e-9)  # whole epochs; the sum of many steps may fall short of one
        return warmup_share(step, self.warmup) * self.factor ** max(0, done - self.after + 1)


@dataclass
class Plateau:
    """The peak, multiplied by `factor` after every `patience` evaluations without improvement.

    Never below the share `least`. (torch.optim.lr_scheduler.ReduceLROnPlateau waits one more.)

    >>> schedule, shares = Plateau(warmup=0, factor=0.5, patience=2, least=0.1), []
    >>> for improved in (False, False, True, False, False):
    ...     schedule.observe(improved)
    ...     shares.append(schedule.share(1, 0.0))
    >>> shares
    [1.0, 0.5, 0.5, 0.5, 0.25]
    """

    warmup: int
    factor: float
    patience: int
    least: float
    scale: float = 1.0
    waited: int = 0

    def share(self, step: int, progress: float) -> float:
        return warmup_share(step, self.warmup) * self.scale

    def observe(self, improved: bool) -> None:
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            self.scale = max(self.least, self.scale * self.factor)
            self.waited = 0

    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "waited": self.waited}

    def restore(self, state: dict[str, float]) -> None:
        self.scale, self.waited = state["scale"], int(state["waited"])
