"""The network compared with a plain loop, and its buffers and parameter views.

test_cells.py has the requirements of every cell. Both computations are within the bounds of network_error.py.
"""

import re

import numpy as np
import pytest

from src.rnn import vanilla
from src.rnn.blocked_matmul import MAX_CHUNKS
from src.rnn.cells import CELLS
from src.rnn.network import Buffers, Ids, dropout_masks, forward, loss_and_gradient
from src.rnn.parameters import Array, Parameters, RNNConfig, named_views, unflatten
from tests.network_error import Bounds
from tests.rounding import contractive

SHAPES = [(1, 1, 1, 2), (1, 4, 3, 5), (6, 1, 4, 3), (7, 3, 5, 6)]  # T, B, H, V
KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
LAYERS = pytest.mark.parametrize("layers", [1, 2, 3])


def example(
    steps: int,
    batch: int,
    hidden: int,
    vocab: int,
    dtype: type[np.floating] = np.float64,
    kind: tuple[str, str] = ("rnn", "tanh"),
    layers: int = 1,
) -> tuple[RNNConfig, Array, Ids, Ids, Array]:
    """Return a random, non-chaotic network (flat), a batch (ids, targets) and an initial state."""
    rng = np.random.default_rng([steps, batch, hidden, vocab])
    architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
    drawn = 0.7 * rng.standard_normal(architecture.size())
    params = contractive(architecture, drawn).astype(dtype)
    ids, targets = rng.integers(vocab, size=(2, steps, batch))
    state = rng.uniform(-0.9, 0.9, (layers, architecture.states, batch, hidden)).astype(dtype)
    return architecture, params, ids, targets, state


def run_backward(
    architecture: RNNConfig,
    params: Array,
    ids: Ids,
    targets: Ids,
    state: Array,
    buffers: Buffers | None = None,
    masks: Array | None = None,
) -> tuple[float, Array]:
    """Return loss and flat gradient."""
    steps, batch = ids.shape
    buffers = buffers or Buffers.allocate(architecture, steps, batch, params.dtype, training=True)
    buffers.set_state(state)
    g = np.full_like(params, np.nan)
    p, views = unflatten(architecture, params), unflatten(architecture, g)
    loss = loss_and_gradient(p, views, ids, targets, buffers, masks)
    return loss, g


def reference_backward(
    p: dict[str, Array], ids: Ids, targets: Ids, h0: Array
) -> tuple[float, dict[str, Array]]:
    """Return loss and gradients of a one-layer tanh RNN by the plain equations."""
    steps, batch = ids.shape
    wx, wh, b, wy, by = p["wx"], p["wh"], p["b"], p["wy"], p["by"]
    eye, share = np.eye(by.size), 1 / ids.size
    g, loss = {name: np.zeros_like(array) for name, array in p.items()}, 0.0
    for column in range(batch):
        states, probabilities = [h0[column]], []
        for t in range(steps):
            states.append(np.tanh(eye[ids[t, column]] @ wx + states[-1] @ wh + b))
            exponentials = np.exp(states[-1] @ wy + by)
            probabilities.append(exponentials / exponentials.sum())
            loss -= share * np.log(probabilities[-1][targets[t, column]])
        dh_next = np.zeros_like(h0[column])
        for t in reversed(range(steps)):
            dz = share * (probabilities[t] - eye[targets[t, column]])
            da = (wy @ dz + dh_next) * (1 - states[t + 1] ** 2)
            dh_next = wh @ da
            g["wy"] += np.outer(states[t + 1], dz)
            g["by"] += dz
            g["wx"] += np.outer(eye[ids[t, column]], da)
            g["wh"] += np.outer(states[t], da)
            g["b"] += da
    return loss, g


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient_match_reference(shape: tuple[int, int, int, int]) -> None:
    architecture, params, ids, targets, state = example(*shape)
    expected_loss, expected = reference_backward(named_views(architecture, params), ids, targets, state[0, 0])
    loss, g = run_backward(architecture, params, ids, targets, state)
    bound = Bounds.of(architecture, params, ids, targets, state)
    assert loss == pytest.approx(expected_loss, rel=0, abs=2 * bound.loss)
    for name, array in named_views(architecture, g).items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2 * bound.gradient[name], err_msg=name)


@KINDS
def test_stepwise_embedding_is_bit_identical(kind: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches are looked up step by step to fit into the cache."""
    architecture, params, ids, targets, state = example(7, 3, 5, 6, kind=kind, layers=2)
    batched = run_backward(architecture, params, ids, targets, state)
    monkeypatch.setattr("src.rnn.network.CACHE_BYTES", 0)
    step_by_step = run_backward(architecture, params, ids, targets, state)
    assert step_by_step[0] == batched[0]
    assert step_by_step[1].tobytes() == batched[1].tobytes()


@LAYERS
@KINDS
def test_parts_of_batch_add_up(kind: tuple[str, str], layers: int) -> None:
    """Data-parallel workers divide by the size of the whole batch."""
    architecture, params, ids, targets, state = example(7, 4, 5, 6, kind=kind, layers=layers)
    loss, g = run_backward(architecture, params, ids, targets, state)
    losses, parts, p = [], np.full((2, params.size), np.nan), unflatten(architecture, params)
    for part, columns in zip(parts, (slice(0, 1), slice(1, 4)), strict=True):
        buffers = Buffers.allocate(architecture, 7, columns.stop - columns.start, params.dtype, training=True)
        buffers.set_state(state[:, :, columns])
        views = unflatten(architecture, part)
        losses.append(
            loss_and_gradient(p, views, ids[:, columns], targets[:, columns], buffers, denominator=28)
        )
    bound = Bounds.of(architecture, params, ids, targets, state)
    assert sum(losses) == pytest.approx(loss, rel=0, abs=2 * bound.loss)
    assert np.linalg.norm(parts.sum(axis=0) - g) <= 2 * bound.gradient_norm <= 1e-9 * np.linalg.norm(g)


@pytest.mark.parametrize("batched", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_chunked_slopes_are_bit_identical(
    activation: str, batched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = example(7, 3, 5, 6, kind=("rnn", activation))
    whole = run_backward(*batch)
    monkeypatch.setattr(vanilla, "CACHE_ELEMENTS", batched * 3 * 5)
    assert run_backward(*batch)[1].tobytes() == whole[1].tobytes()


@pytest.mark.parametrize("steps", [6, 8])
@KINDS
def test_wrong_number_of_steps_is_rejected(kind: tuple[str, str], steps: int) -> None:
    architecture, params, *_ = example(7, 3, 5, 6, kind=kind)
    (cache,) = Buffers.allocate(architecture, 7, 3, params.dtype).caches
    (layer,) = unflatten(architecture, params).layers
    with pytest.raises(ValueError, match="zip"):
        architecture.spec.forward(layer, cache, np.zeros((steps, architecture.gates, 3, 5)))


@LAYERS
@KINDS
def test_pass_keeps_its_inputs(kind: tuple[str, str], layers: int) -> None:
    architecture, params, ids, targets, state = example(7, 3, 5, 6, kind=kind, layers=layers)
    masks = dropout_masks(architecture, 7, 3, 0.5, np.random.default_rng(0), np.float64)
    before = [array.tobytes() for array in (params, ids, targets, state, masks)]
    run_backward(architecture, params, ids, targets, state, masks=masks)
    assert [array.tobytes() for array in (params, ids, targets, state, masks)] == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_masks_keep_mean(dtype: type[np.floating]) -> None:
    architecture = RNNConfig(vocab=4, hidden=50, cell="gru", layers=3)
    masks = dropout_masks(architecture, 40, 10, 0.2, np.random.default_rng(0), dtype)
    assert masks.dtype == dtype
    assert masks.shape == (2, 40, 10, 50)
    assert np.unique(masks).tolist() == [0, dtype(1.25)]
    error = (0.2 * 0.8 / masks.size) ** 0.5  # standard error of the share
    assert (masks == 0).mean() == pytest.approx(0.2, rel=0, abs=4 * error)
    assert masks.mean(dtype=np.float64) == pytest.approx(1, rel=0, abs=4 * 1.25 * error)


def test_dropout_threshold_is_single_precision() -> None:
    """The masks of a seed are stable across releases."""
    architecture, shape = RNNConfig(vocab=4, hidden=5, layers=3), (2, 7, 3, 5)
    draws = np.random.default_rng(0).random(shape, np.float32)
    share = float(draws[1, 2, 0, 3])  # a draw equal to the share keeps the unit
    masks = dropout_masks(architecture, 7, 3, share, np.random.default_rng(0))
    assert ((masks > 0) == (draws >= share)).all()
    assert masks[1, 2, 0, 3] > 0


def test_dropout_applies_between_layers() -> None:
    """A zero mask removes the input of layer 2 and leaves layer 1 unchanged."""
    architecture, params, ids, _, state = example(7, 3, 5, 6, kind=("lstm", "tanh"), layers=2)
    p = unflatten(architecture, params)
    masked, no_input = (Buffers.allocate(architecture, 7, 3, params.dtype) for _ in range(2))
    masked.set_state(state)
    forward(p, ids, masked, np.zeros((1, 7, 3, 5)))
    no_input.set_state(state)
    p.layers[1].wx[:] = 0
    forward(p, ids, no_input)
    assert masked.caches[0].h.tobytes() == no_input.caches[0].h.tobytes()
    bound = Bounds.of(architecture, params, ids, state=state).activation  # bound of the network without input
    np.testing.assert_allclose(masked.caches[1].h, no_input.caches[1].h, rtol=0, atol=2 * bound)


def arrays(p: Parameters) -> list[Array]:
    return [*(array for layer in p.layers for array in layer), p.wy, p.by]


@LAYERS
@KINDS
def test_views_cover_flat_vector_once(kind: tuple[str, str], layers: int) -> None:
    architecture = RNNConfig(4, 3, kind[0], layers, kind[1])
    params = np.zeros(architecture.size())
    named = named_views(architecture, params)
    assert {name: view.shape for name, view in named.items()} == architecture.shapes()
    for views in (list(named.values()), arrays(unflatten(architecture, params))):
        params[:] = 0
        for view in views:
            assert view.size == 0 or np.shares_memory(view, params)
            view += 1
        assert (params == 1).all()
        params[:] = 7
        assert all((view == 7).all() for view in views)


@LAYERS
@KINDS
def test_matrices_exclude_biases(kind: tuple[str, str], layers: int) -> None:
    architecture = RNNConfig(4, 3, kind[0], layers, kind[1])
    params = np.zeros(architecture.size())
    for matrix in unflatten(architecture, params).matrices():
        matrix += 1
    for name, view in named_views(architecture, params).items():
        assert (view == (name[0] == "w")).all(), name


def test_parameter_names_are_stable() -> None:
    shapes = RNNConfig(vocab=4, hidden=3).shapes()
    assert shapes == {"wx": (4, 3), "wh": (3, 3), "b": (3,), "wy": (3, 4), "by": (4,)}


@pytest.mark.parametrize("wrong", [-1, 1])
def test_flat_vector_of_wrong_size_is_rejected(wrong: int) -> None:
    architecture = RNNConfig(vocab=4, hidden=3)
    size = architecture.size()
    with pytest.raises(ValueError, match=f"expected a vector of {size} parameters, got shape"):
        unflatten(architecture, np.zeros(size + wrong))


def test_unknown_cell_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"expected one of rnn with tanh, .*, got gru with relu"):
        forward_once(RNNConfig(4, 3, "gru", 1, "relu"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.CELL", "No module named 'nowhere'"),
        ("src.rnn.gru.LSTM", "has no attribute"),
        ("math.pi", "float"),
    ],
)
def test_invalid_cell_path_is_rejected(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {name} with tanh (")) as caught:
        RNNConfig(4, 3, name).size()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cell_can_be_in_any_module() -> None:
    assert RNNConfig(4, 3, "src.rnn.lstm.LSTM").spec is RNNConfig(4, 3, "lstm").spec


def forward_once(architecture: RNNConfig) -> Array:
    buffers = Buffers.allocate(architecture, 1, 1)
    params = np.zeros(architecture.size(), np.float32)
    return forward(unflatten(architecture, params), np.zeros((1, 1), np.intp), buffers)


@LAYERS
@KINDS
def test_carried_state_can_be_set(kind: tuple[str, str], layers: int) -> None:
    architecture, params, ids, _, state = example(7, 3, 5, 6, kind=kind, layers=layers)
    p, initialized, overwritten = (
        unflatten(architecture, params),
        *(Buffers.allocate(architecture, 7, 3, params.dtype) for _ in range(2)),
    )
    initialized.set_state(state)
    forward(p, ids[::-1], overwritten)
    overwritten.set_state(state, -1)
    assert overwritten.state().tobytes() == state.tobytes()
    overwritten.carry()
    assert forward(p, ids, overwritten).tobytes() == forward(p, ids, initialized).tobytes()


@pytest.mark.parametrize("layers", [1, 3])
def test_wrong_number_of_layers_is_rejected(layers: int) -> None:
    architecture, params, ids, _, state = example(7, 3, 5, 6, kind=("lstm", "tanh"), layers=layers)
    buffers = Buffers.allocate(RNNConfig(6, 5, "lstm", 2), 7, 3, params.dtype)
    for t in (0, -1):
        with pytest.raises(ValueError, match="zip"):
            buffers.set_state(state, t)
    with pytest.raises(ValueError, match="zip"):
        forward(unflatten(architecture, params), ids, buffers)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_buffer_shapes_and_dtype(dtype: type[np.inexact], training: bool) -> None:
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


def test_buffers_are_for_evaluation_by_default() -> None:
    assert Buffers.allocate(RNNConfig(6, 5), 7, 2).dh.size == 0


@LAYERS
@KINDS
def test_buffers_are_reusable(kind: tuple[str, str], layers: int) -> None:
    architecture, params, ids, targets, state = example(7, 3, 5, 6, kind=kind, layers=layers)
    masks = dropout_masks(architecture, 7, 3, 0.5, np.random.default_rng(0), np.float64)
    buffers = Buffers.allocate(architecture, 7, 3, params.dtype, training=True)
    run_backward(architecture, params, ids[::-1], targets[::-1], -state, buffers, masks)
    again = run_backward(architecture, params, ids, targets, state, buffers)
    fresh = run_backward(architecture, params, ids, targets, state)
    assert again[0] == fresh[0]
    assert again[1].tobytes() == fresh[1].tobytes()
