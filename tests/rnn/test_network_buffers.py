"""What a pass writes to: its sizes and precision, and the state it begins with."""

import numpy as np
import pytest

from src.rnn.blocked_matmul import MAX_CHUNKS
from src.rnn.network import Buffers, dropout_masks, forward
from src.rnn.parameters import RNNConfig, unflatten
from tests.rnn.test_network import KINDS, LAYERS, example, run_backward


@LAYERS
@KINDS
def test_pieces_after_a_state_set_at_the_end_begin_with_it(kind: tuple[str, str], layers: int) -> None:
    architecture, params, ids, _, state = example(7, 3, 5, 6, kind=kind, layers=layers)
    p, begun, ended = (
        unflatten(architecture, params),
        *(Buffers.allocate(architecture, 7, 3, params.dtype) for _ in range(2)),
    )
    begun.set_state(state)
    forward(p, ids[::-1], ended)
    ended.set_state(state, -1)
    assert ended.state().tobytes() == state.tobytes()
    ended.carry()
    assert forward(p, ids, ended).tobytes() == forward(p, ids, begun).tobytes()


@pytest.mark.parametrize("layers", [1, 3])
def test_a_state_or_parameters_of_another_number_of_layers_are_refused(layers: int) -> None:
    architecture, params, ids, _, state = example(7, 3, 5, 6, kind=("lstm", "tanh"), layers=layers)
    buffers = Buffers.allocate(RNNConfig(6, 5, "lstm", 2), 7, 3, params.dtype)
    for t in (0, -1):
        with pytest.raises(ValueError, match="zip"):
            buffers.set_state(state, t)
    with pytest.raises(ValueError, match="zip"):
        forward(unflatten(architecture, params), ids, buffers)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_buffers_have_the_precision_asked_for_and_no_more_than_a_pass_writes(
    dtype: type[np.inexact], training: bool
) -> None:
    buffers = Buffers.allocate(RNNConfig(6, 5, "lstm", 3), 7, 2, dtype, training)
    backward = {"dh": (7, 2, 5), "onehot": (6, 14), "wy_t": (6, 5), "partial": (MAX_CHUNKS + 1, 4, 6, 5)}
    expected = {"z": (6, 14), "table": (4, 6, 5)} | {
        name: shape if training else (0,) for name, shape in backward.items()
    }
    found = {name: getattr(buffers, name) for name in expected}
    assert {name: array.shape for name, array in found.items()} == expected
    assert [array.shape for array in buffers.dropped] == [(7, 2, 5)] * 2
    caches = [array for cache in buffers.caches for array in (cache.blocks, cache.h, cache.c)]
    assert {array.dtype for array in (*found.values(), *buffers.dropped, *caches)} == {np.dtype(dtype)}


def test_buffers_are_for_evaluation_unless_asked() -> None:
    assert Buffers.allocate(RNNConfig(6, 5), 7, 2).dh.size == 0


@LAYERS
@KINDS
def test_buffers_keep_nothing_from_one_batch_to_the_next(kind: tuple[str, str], layers: int) -> None:
    architecture, params, ids, targets, state = example(7, 3, 5, 6, kind=kind, layers=layers)
    masks = dropout_masks(architecture, 7, 3, 0.5, np.random.default_rng(0), np.float64)
    buffers = Buffers.allocate(architecture, 7, 3, params.dtype, training=True)
    run_backward(architecture, params, ids[::-1], targets[::-1], -state, buffers, masks)
    again = run_backward(architecture, params, ids, targets, state, buffers)
    fresh = run_backward(architecture, params, ids, targets, state)
    assert again[0] == fresh[0]
    assert again[1].tobytes() == fresh[1].tobytes()
