"""What of a training changes from step to step: its counters, and all of it as one value."""

from dataclasses import dataclass, field
from typing import Any

from src.rnn.parameters import Array


@dataclass(frozen=True)
class Snapshot:
    """What training goes on from as if it had never ended. state: ready for JSON. arrays: by name, views of
    those at work: to be written or copied before training goes on."""

    step: int
    state: dict[str, Any]
    arrays: dict[str, Array]


@dataclass
class Since:
    """Sums since the last point of the training curves."""

    steps: int = 0
    loss: float = 0.0
    norm: float = 0.0
    clipped: int = 0

    def metrics(self, lr: float, chars_per_second: float) -> dict[str, float]:
        return {
            "train/loss": self.loss / self.steps,
            "grad/norm": self.norm / self.steps,
            "grad/clipped": self.clipped / self.steps,
            "lr": lr,
            "chars_per_second": chars_per_second,
        }


@dataclass
class Counters:
    """What changes from step to step, beside the arrays. step: the last one taken. evaluated: that of the
    last evaluation. lr: of the last step. seconds: of training so far; of these in_steps. fresh: the next
    batch begins from a zero state, wherever it stands."""

    step: int = 0
    evaluated: int = 0
    lr: float = 0.0
    seconds: float = 0.0
    in_steps: float = 0.0
    fresh: bool = False
    since: Since = field(default_factory=Since)
