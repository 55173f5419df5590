"""The schema of a checkpoint: the keys and types of its JSON, the names, shapes and dtypes of its arrays."""

from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.models.serialization import ArchitectureFields, NormalizationFields, TrainedModel
from src.rnn.cells import get_cell
from src.rnn.parameters import Array


class RunningFields(TypedDict):
    """Fields of `RunningSums` as JSON.

    Attributes:
        steps: Number of optimizer steps since the last point of the training curves.
        loss: Sum of their training losses, in nats per character.
        norm: Sum of their global gradient norms before clipping.
        clipped: Number of these steps in which the gradient was clipped.
    """

    steps: int
    loss: float
    norm: float
    clipped: int


class CounterFields(TypedDict):
    """Fields of `TrainCounters` as JSON.

    Attributes:
        step: Number of the last optimizer step.
        validated: Step of the last validation; 0: none yet.
        lr: Learning rate of the last step.
        seconds: Training time so far in seconds, including validations.
        step_seconds: Part of it that was spent in optimizer steps, in seconds.
        reset_state: Whether the next batch begins from a zero state.
        running: Sums since the last point of the training curves.
    """

    step: int
    validated: int
    lr: float
    seconds: float
    step_seconds: float
    reset_state: bool
    running: RunningFields


class BestFields(TypedDict):
    """State of `BestWeights` as JSON, without the weights.

    Attributes:
        loss: Lowest validation loss, in nats per character; infinity before the first validation.
        step: Step of that validation; 0: none yet.
        wait_count: Number of validations since the last improvement.
        best_for_patience: Last loss that counted as an improvement.
    """

    loss: float
    step: int
    wait_count: int
    best_for_patience: float


class RollbackFields(TypedDict):
    """State of `Rollback` as JSON, without the arrays.

    Attributes:
        count: Number of rollbacks so far.
        scale: Factor on the learning rate, from these rollbacks.
        good_at: Step of the last good arrays.
    """

    count: int
    scale: float
    good_at: int


class ShuffledFields(TypedDict):
    """State of `ShuffledWindows` as JSON.

    Attributes:
        keys: Keys of the permutation of this epoch; empty before the first batch.
        position: Number of windows of this epoch that are used.
    """

    keys: list[int]
    position: int


class ContiguousFields(TypedDict):
    """State of `ContiguousStreams` as JSON.

    Attributes:
        shift: Number of characters that are left out at the beginning of this epoch.
        position: Number of batches of this epoch that are used.
    """

    shift: int
    position: int


class PCG64Fields(TypedDict):
    """The two 128-bit numbers of NumPy's bit generator PCG64.

    Attributes:
        state: State of the generator.
        inc: Increment, which selects the stream.
    """

    state: int
    inc: int


class GeneratorFields(TypedDict):
    """State of NumPy's default random generator, as `Generator.bit_generator.state` returns it.

    Attributes:
        bit_generator: Name of the bit generator.
        state: Numbers of the bit generator.
        has_uint32: 1 if half of a 64-bit number is left over, else 0.
        uinteger: That half.
    """

    bit_generator: Literal["PCG64"]
    state: PCG64Fields
    has_uint32: int
    uinteger: int


class TrainingFields(TypedDict):
    """State of the trainer, without its arrays.

    Attributes:
        counters: Numbers that change from step to step.
        best: Lowest validation loss and early stopping.
        rollback: Rollbacks so far.
        schedule: Result of `state` of the schedule; only the schedule knows its keys.
        batches: Position in the supply of batches.
        update_ratios: Diagnostics of the last update by metric name; empty if none are due.
        rng: Random generator of the training.
    """

    counters: CounterFields
    best: BestFields
    rollback: RollbackFields
    schedule: dict[str, Any]
    batches: ShuffledFields | ContiguousFields
    update_ratios: dict[str, float]
    rng: GeneratorFields


class ModelFields(TypedDict):
    """Description of the model that belongs to the weights, as in model.json.

    Attributes:
        architecture: Sizes and cell type of the network.
        characters: Characters of the vocabulary, in the order of their ids.
        normalization: Normalization of the corpus.
    """

    architecture: ArchitectureFields
    characters: list[str]
    normalization: NormalizationFields


class CheckpointFields(TypedDict):
    """The JSON of a checkpoint.

    Attributes:
        training: State of the trainer, without its arrays.
        event_log_bytes: Size of the event log at the checkpoint, in bytes.
        sample_chars: Length of the file of samples at the checkpoint, in characters.
        corpus: Digest of the corpus.
        code: Digest of the source code, see `code_digest`.
        model: Description of the model.
    """

    training: TrainingFields
    event_log_bytes: int
    sample_chars: int
    corpus: str
    code: str
    model: ModelFields


def check_arrays(arrays: dict[str, Array], model: TrainedModel) -> None:
    """Check the names, shapes and dtypes of the arrays of a checkpoint.

    Allowed names are `weights`, `best` and `averaged` (float32, shape (n,)), `carried` (float32, shape (L, S,
    B, H)) and `optimizer.*`, whose shapes the trainer checks. `good.NAME` has the shape and dtype of `NAME`.

    Args:
        arrays: Arrays by name.
        model: Model of the checkpoint, for the sizes.

    Raises:
        ValueError: The cell is unknown; the vocabulary has another size; or an array is missing, has an
            unknown name, or has another shape or dtype than the network needs.
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
        else:  # array of the optimizer; the trainer checks its shape
            fits = own.startswith("optimizer.")
        if own != name:
            like = arrays.get(own)
            fits = fits and like is not None and (like.shape, like.dtype) == (array.shape, array.dtype)
        if not fits:
            raise ValueError(
                f"array {name} of shape {array.shape} and type {array.dtype} does not match the architecture"
            )
