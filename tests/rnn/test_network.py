"""The buffers, the dropout masks and the parameter views of a network; test_cells.py compares its passes."""

import re

import numpy as np
import pytest

from src.rnn import vanilla
from src.rnn.blocked_matmul import MAX_CHUNKS
from src.rnn.network import Buffers, dropout_masks, forward
from src.rnn.parameters import RNNConfig, named_views, unflatten
from tests.cell_example import DTYPES, KINDS, Example, Kind

LAYERS = pytest.mark.parametrize("layers", [1, 2, 3])


@KINDS
def test_stepwise_embedding_is_bit_identical(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches are looked up step by step to fit into the cache."""
    e = Example(kind, 2)
    loss, g = e.backward()
    monkeypatch.setattr("src.rnn.network.CACHE_BYTES", 0)
    step_by_step = e.backward()
    assert (step_by_step[0], step_by_step[1].tobytes()) == (loss, g.tobytes())


@pytest.mark.parametrize("batched", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_chunked_slopes_are_bit_identical(
    activation: str, batched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = Example(("rnn", activation))
    _, g = e.backward()
    monkeypatch.setattr(vanilla, "CACHE_ELEMENTS", batched * 3 * 5)
    assert e.backward()[1].tobytes() == g.tobytes()


@LAYERS
@KINDS
def test_parts_of_batch_add_up(kind: Kind, layers: int) -> None:
    """Data-parallel workers divide by the size of the whole batch."""
    e = Example(kind, layers, (7, 4, 5, 6))
    loss, g = e.backward()
    first, second = (e.backward(columns, denominator=28) for columns in (slice(1), slice(1, 4)))
    bound = e.bounds()
    assert first[0] + second[0] == pytest.approx(loss, rel=0, abs=2 * bound.loss)
    assert np.linalg.norm(first[1] + second[1] - g) <= 2 * bound.gradient_norm <= 1e-9 * np.linalg.norm(g)


@pytest.mark.parametrize("steps", [6, 8])
@KINDS
def test_wrong_number_of_steps_is_rejected(kind: Kind, steps: int) -> None:
    e = Example(kind)
    with pytest.raises(ValueError, match="zip"):
        e.architecture.spec.forward(
            e.p.layers[0], e.buffers().caches[0], np.zeros((steps, e.architecture.gates, 3, 5))
        )


@pytest.mark.parametrize("layers", [1, 3])
def test_wrong_number_of_layers_is_rejected(layers: int) -> None:
    e = Example(("lstm", "tanh"), layers)
    buffers = Buffers.allocate(RNNConfig(6, 5, "lstm", 2), 7, 3, np.float64)
    for t in (0, -1):
        with pytest.raises(ValueError, match="zip"):
            buffers.set_state(e.state, t)
    with pytest.raises(ValueError, match="zip"):
        forward(e.p, e.ids, buffers)


@DTYPES
def test_dropout_masks(dtype: type[np.floating]) -> None:
    """A unit is kept if its draw, in single precision, is at least the rate. So the masks of a seed are
    stable across releases."""
    draws = np.random.default_rng(0).random((2, 7, 3, 5), np.float32)
    rate = float(draws[1, 2, 0, 3])
    masks = dropout_masks(RNNConfig(4, 5, layers=3), 7, 3, rate, np.random.default_rng(0), dtype)
    assert masks.dtype == dtype
    assert masks.tolist() == np.where(draws >= rate, dtype(1 / (1 - rate)), dtype(0)).tolist()


@LAYERS
@KINDS
def test_views_cover_flat_vector_once(kind: Kind, layers: int) -> None:
    architecture = RNNConfig(4, 3, kind[0], layers, kind[1])
    params = np.zeros(architecture.size())
    named, p = named_views(architecture, params), unflatten(architecture, params)
    assert {name: view.shape for name, view in named.items()} == architecture.shapes()
    for views in (named.values(), [*(array for layer in p.layers for array in layer), p.wy, p.by]):
        params[:] = 0
        for view in views:
            view += 1
        assert (params == 1).all()
    for matrix in p.matrices():
        matrix += 1
    for name, view in named.items():
        assert (view == (2 if name[0] == "w" else 1)).all(), name


@pytest.mark.parametrize("wrong", [-1, 1])
def test_flat_vector_of_wrong_size_is_rejected(wrong: int) -> None:
    architecture = RNNConfig(vocab=4, hidden=3)
    size = architecture.size()
    with pytest.raises(ValueError, match=f"expected a vector of {size} parameters, got shape"):
        unflatten(architecture, np.zeros(size + wrong))


@pytest.mark.parametrize(
    ("name", "activation", "reason"),
    [
        ("gru", "relu", "expected one of rnn with tanh, "),
        ("nowhere.CELL", "tanh", "(No module named 'nowhere')"),
        ("src.rnn.gru.LSTM", "tanh", "has no attribute"),
        ("math.pi", "tanh", "float"),
    ],
)
def test_unknown_cell_is_rejected(name: str, activation: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f", got {name} with {activation}")) as caught:
        RNNConfig(4, 3, name, 1, activation).size()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cell_can_be_in_any_module() -> None:
    assert RNNConfig(4, 3, "src.rnn.lstm.LSTM").spec is RNNConfig(4, 3, "lstm").spec


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_buffer_shapes_and_dtype(dtype: type[np.inexact], training: bool) -> None:
    """Buffers are for evaluation unless they are allocated for training."""
    more = {"training": True} if training else {}
    buffers = Buffers.allocate(RNNConfig(6, 5, "lstm", 3), 7, 2, dtype, **more)
    backward = {"dh": (7, 2, 5), "onehot": (6, 14), "wy_t": (6, 5), "partial": (MAX_CHUNKS + 1, 4, 6, 5)}
    expected = {"z": (6, 14), "table": (4, 6, 5)} | {
        name: shape if training else (0,) for name, shape in backward.items()
    }
    found = {name: getattr(buffers, name) for name in expected}
    assert {name: array.shape for name, array in found.items()} == expected
    assert [array.shape for array in buffers.dropped] == [(7, 2, 5)] * 2
    caches = [array for cache in buffers.caches for array in (cache.blocks, cache.h, cache.c)]
    assert {array.dtype for array in (*found.values(), *buffers.dropped, *caches)} == {np.dtype(dtype)}
