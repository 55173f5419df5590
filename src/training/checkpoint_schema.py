"""The schema of a checkpoint: the keys and types of its JSON, the names, shapes and dtypes of its arrays."""

from typing import Any, Literal, get_type_hints

import numpy as np

from src.common.files import record_schema
from src.models.serialization import MODEL_FIELDS, TrainedModel
from src.rnn.cells import get_cell
from src.rnn.parameters import Array
from src.training.train_state import RunningSums, TrainCounters

RUNNING = record_schema(**get_type_hints(RunningSums))
SHUFFLED = record_schema(keys=list[int], position=int)  # `ShuffledWindows.state`
CONTIGUOUS = record_schema(shift=int, position=int)  # `ContiguousStreams.state`
PCG64 = record_schema(state=int, inc=int)
TRAINING = record_schema(  # `TrainState.state`
    counters=record_schema(**get_type_hints(TrainCounters) | {"running": RUNNING}),
    best=record_schema(loss=float, step=int, wait_count=int, best_for_patience=float),
    rollback=record_schema(count=int, scale=float, good_at=int),
    schedule=dict[str, Any],  # only the schedule knows its keys
    batches=SHUFFLED | CONTIGUOUS,
    update_ratios=dict[str, float],
    rng=record_schema(bit_generator=Literal["PCG64"], state=PCG64, has_uint32=int, uinteger=int),
)
CHECKPOINT = record_schema(
    training=TRAINING,
    event_log_bytes=int,  # size of the event log at the checkpoint
    sample_chars=int,  # length of the file of samples at the checkpoint, in characters
    corpus=str,  # digest of the corpus
    code=str,  # digest of the source code, see `code_digest`
    model=record_schema(**MODEL_FIELDS),
)


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
