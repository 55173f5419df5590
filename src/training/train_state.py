"""The state of a training: its counters, and all of it as one value for checkpoints."""

from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.common.errors import UserError
from src.rnn.parameters import Array


@dataclass(frozen=True)
class TrainState:
    """Everything from which a training continues as if it had never been interrupted.

    Attributes:
        step: The last optimizer step.
        state: All that is not an array, ready for JSON.
        arrays: By name; views of the arrays in use, to be written or copied before the next step.
    """

    step: int
    state: dict[str, Any]
    arrays: dict[str, Array]


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


def check_arrays(arrays: dict[str, Array], expected: dict[str, Array]) -> None:
    """Check that saved arrays are those of a training.

    Args:
        arrays: Of a checkpoint; it may hold more than is expected.
        expected: Of the trainer.

    Raises:
        UserError: An array is missing, or has another shape or dtype.
    """
    for name, array in expected.items():
        found = arrays.get(name)
        if found is None or (found.shape, found.dtype) != (array.shape, array.dtype):
            got = "none" if found is None else f"one of shape {found.shape} and type {found.dtype}"
            raise UserError(
                f"resume: expected a checkpoint of this training, with an array {name} of shape "
                f"{array.shape} and type {array.dtype}, got {got}"
            )


# The schema of a training's state in a checkpoint.


class RunningFields(TypedDict):
    """The fields of RunningSums."""

    steps: int
    loss: float
    norm: float
    clipped: int


class CounterFields(TypedDict):
    """The fields of TrainCounters."""

    step: int
    validated: int
    lr: float
    seconds: float
    step_seconds: float
    reset_state: bool
    running: RunningFields


class BestFields(TypedDict):
    """State of BestWeights."""

    loss: float
    step: int
    wait_count: int
    best_for_patience: float


class RollbackFields(TypedDict):
    """State of Rollback."""

    count: int
    scale: float
    good_at: int


class ShuffledFields(TypedDict):
    """State of ShuffledWindows."""

    keys: list[int]
    position: int


class ContiguousFields(TypedDict):
    """State of ContiguousStreams."""

    shift: int
    position: int


class PCG64Fields(TypedDict):
    """The two 128-bit numbers of PCG64."""

    state: int
    inc: int


class GeneratorFields(TypedDict):
    """State of NumPy's default generator."""

    bit_generator: Literal["PCG64"]
    state: PCG64Fields
    has_uint32: int
    uinteger: int


class TrainingFields(TypedDict):
    """State of the trainer, except its arrays. schedule: what the schedule's own `state` returns."""

    counters: CounterFields
    best: BestFields
    rollback: RollbackFields
    schedule: dict[str, Any]
    batches: ShuffledFields | ContiguousFields
    update_ratios: dict[str, float]
    rng: GeneratorFields
