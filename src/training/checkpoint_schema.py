"""The schema of a checkpoint: the types and keys of its JSON, the names, shapes and dtypes of its arrays."""

from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.models.serialization import ArchitectureFields, NormalizationFields, TrainedModel
from src.rnn.cells import get_cell
from src.rnn.parameters import Array


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


class ModelFields(TypedDict):
    """Description of the model that belongs to the weights, as in model.json."""

    architecture: ArchitectureFields
    characters: list[str]
    normalization: NormalizationFields


class CheckpointFields(TypedDict):
    """The JSON of a checkpoint.

    event_log_bytes, sample_chars: size of the event log and of the file of samples at the checkpoint. corpus,
    code: digests.
    """

    training: TrainingFields
    event_log_bytes: int
    sample_chars: int
    corpus: str
    code: str
    model: ModelFields


def check_arrays(arrays: dict[str, Array], model: TrainedModel) -> None:
    """Check names, shapes and dtypes of a checkpoint's arrays.

    Raises:
        ValueError: There is no such cell; or an array is missing, unknown, or of another shape or dtype than
            the network needs.
    """
    a = model.architecture
    get_cell(a.cell, a.activation)
    if len(model.vocabulary) != a.vocab:
        raise ValueError(f"{len(model.vocabulary)} characters for a vocabulary of {a.vocab}")
    if missing := {"weights", "best"} - arrays.keys():
        raise ValueError(f"no array {min(missing)}")
    vector = (a.size(),)
    for name, array in arrays.items():
        own = name.removeprefix("good.")
        if own in ("weights", "best", "averaged"):
            fits = array.shape == vector and array.dtype == np.float32
        elif name == "carried":
            fits = array.ndim == 4 and array.dtype == np.float32
            fits = fits and (*array.shape[:2], array.shape[3]) == (a.layers, a.states, a.hidden)
        else:  # of the optimizer, whose sizes the trainer knows
            fits = own.startswith("optimizer.")
        if own != name:
            like = arrays.get(own)
            fits = fits and like is not None and (like.shape, like.dtype) == (array.shape, array.dtype)
        if not fits:
            raise ValueError(
                f"array {name} of shape {array.shape} and type {array.dtype} does not match the architecture"
            )
