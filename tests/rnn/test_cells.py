"""Requirements of every cell, compared with reference equations.

Two computations are within the bounds of network_error.py, so they differ by at most twice the bound.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from src.evaluation.scoring import predict_stateful
from src.generation.sampling import continue_batch
from src.rnn.cells import CELLS
from src.rnn.loss import cross_entropy_and_gradient
from src.rnn.network import Ids, dropout_masks, forward
from src.rnn.parameters import Array, Layer, Parameters
from src.rnn.step import Stepper
from tests.cell_example import Example

# T, B, H, V; the last one uses tiled products.
SHAPES = [(1, 3, 4, 5), (6, 1, 4, 5), (6, 3, 1, 5), (6, 3, 4, 2), (1, 1, 1, 2), (7, 3, 5, 6), (3, 16, 96, 5)]
KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
LAYERS = pytest.mark.parametrize("layers", [1, 2])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def vanilla(layer: Layer, x: Array, h: Array, f: Callable[[Array], Array]) -> tuple[Array, ...]:
    (wx,), (wh,), (b,), _ = layer
    return (f(x @ wx + h @ wh + b),)


def lstm(layer: Layer, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    o, i, f, g = (x @ wx + h @ wh + b for wx, wh, b in zip(layer.wx, layer.wh, layer.b, strict=True))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(layer: Layer, x: Array, h: Array) -> tuple[Array, ...]:
    (xr, xz, xn), (hr, hz, hn), (br, bz, bn) = layer.wx, layer.wh, layer.b
    r = sigmoid(x @ xr + h @ hr + br)
    z = sigmoid(x @ xz + h @ hz + bz)
    n = np.tanh(x @ xn + bn + r * (h @ hn + layer.bh))
    return ((1 - z) * n + z * h,)


ORACLES: dict[tuple[str, str], Callable[..., tuple[Array, ...]]] = {
    ("rnn", "tanh"): partial(vanilla, f=np.tanh),
    ("rnn", "relu"): partial(vanilla, f=lambda a: np.maximum(a, 0)),
    ("gru", "tanh"): gru,
    ("lstm", "tanh"): lstm,
}


def reference_forward(
    kind: tuple[str, str], p: Parameters, ids: Ids, state: Array, masks: Array | None = None
) -> tuple[Array, Array]:
    """Return logits (T, B, V) and the last state, computed step by step with one-hot inputs."""
    logits, last = np.empty((*ids.shape, p.by.size)), np.array(state, np.float64)
    for column in range(ids.shape[1]):
        for t, character in enumerate(ids[:, column]):
            x = np.eye(p.by.size)[character]
            for k, layer in enumerate(p.layers):
                last[k, :, column] = ORACLES[kind](layer, x, *last[k, :, column])
                x = last[k, 0, column]
                if masks is not None and k < len(masks):
                    x = x * masks[k, t, column]
            logits[t, column] = x @ p.wy + p.by
    return logits, last


def test_every_cell_has_an_oracle() -> None:
    assert ORACLES.keys() == CELLS.keys()


@pytest.mark.parametrize(
    ("shape", "dropout"), [(shape, p) for shape in SHAPES for p in (0.0, 0.5) if p or shape != SHAPES[-1]]
)
@LAYERS
@KINDS
def test_forward_matches_reference(
    kind: tuple[str, str], layers: int, shape: tuple[int, int, int, int], dropout: float
) -> None:
    e = Example(kind, layers, shape)
    masks, buffers = None, e.buffers()
    if dropout:
        rng = np.random.default_rng(0)
        masks = dropout_masks(e.architecture, e.steps, e.batch, dropout, rng, np.float64)
    expected, last = reference_forward(kind, e.p, e.ids, e.state, masks)
    bound = e.bounds(masks)
    np.testing.assert_allclose(e.logits(e.ids, buffers, masks), expected, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(buffers.state(), last, rtol=0, atol=2 * bound.state)


@pytest.mark.parametrize("cut", [1, 4, 6])
@LAYERS
@KINDS
def test_forward_in_two_parts_with_set_state(kind: tuple[str, str], layers: int, cut: int) -> None:
    e = Example(kind, layers)
    whole, first = e.buffers(), e.buffers(cut)
    logits, before = e.logits(e.ids, whole), e.logits(e.ids[:cut], first)
    second = e.buffers(7 - cut, state=first.state())
    after = e.logits(e.ids[cut:], second)
    bound = e.bounds()
    np.testing.assert_allclose(np.concatenate((before, after)), logits, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(second.state(), whole.state(), rtol=0, atol=2 * bound.state)


@LAYERS
@KINDS
def test_forward_in_two_parts_with_carry(kind: tuple[str, str], layers: int) -> None:
    e = Example(kind, layers, (8, 3, 5, 6))
    whole, half = e.buffers(), e.buffers(4)
    logits, before = e.logits(e.ids, whole), e.logits(e.ids[:4], half)
    half.carry()
    after = e.logits(e.ids[4:], half)
    bound = e.bounds()
    np.testing.assert_allclose(np.concatenate((before, after)), logits, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(half.state(), whole.state(), rtol=0, atol=2 * bound.state)


@LAYERS
@KINDS
def test_reset_starts_from_zero_state(kind: tuple[str, str], layers: int) -> None:
    e = Example(kind, layers)
    buffers = e.buffers()
    e.logits(e.ids, buffers)
    state = buffers.state()
    unmasked = state.tobytes()
    buffers.reset()
    again = e.logits(e.ids, buffers)
    zero = e.logits(e.ids, e.buffers(state=np.zeros_like(e.state)))
    assert again.tobytes() == zero.tobytes()
    assert state.tobytes() == unmasked


@LAYERS
@KINDS
def test_logits_depend_on_every_part_of_state(kind: tuple[str, str], layers: int) -> None:
    """Otherwise the tests above would accept any carried state."""
    e = Example(kind, layers)
    logits = e.logits(e.ids, e.buffers())
    for index in np.ndindex(*e.state.shape[:2]):
        state = e.state.copy()
        state[index] += 0.5
        assert abs(e.logits(e.ids, e.buffers(state=state)) - logits).max() > 1e-6, index


@LAYERS
@KINDS
def test_batch_permutation_equivariance(kind: tuple[str, str], layers: int) -> None:
    e = Example(kind, layers, (7, 5, 6, 6))
    order = np.array([3, 0, 4, 2, 1])
    straight, permuted = e.buffers(), e.buffers(state=e.state[:, :, order])
    logits, bound = e.logits(e.ids, straight), e.bounds()
    again = e.logits(e.ids[:, order], permuted)
    np.testing.assert_allclose(again, logits[:, order], rtol=0, atol=2 * bound.logits)
    for cache, other in zip(straight.caches, permuted.caches, strict=True):
        np.testing.assert_allclose(other.h, cache.h[:, order], rtol=0, atol=2 * bound.activation)
        np.testing.assert_allclose(other.c, cache.c[:, order], rtol=0, atol=2 * bound.activation)
    masks = dropout_masks(e.architecture, 7, 5, 0.5, np.random.default_rng(0), np.float64)
    loss, g = e.backward(e.ids, e.targets, e.state, masks)
    permuted_loss, permuted_g = e.backward(
        e.ids[:, order], e.targets[:, order], e.state[:, :, order], np.ascontiguousarray(masks[:, :, order])
    )
    bound = e.bounds(masks)
    assert permuted_loss == pytest.approx(loss, rel=0, abs=2 * bound.loss)
    assert np.linalg.norm(permuted_g - g) <= 2 * bound.gradient_norm <= 1e-9 * np.linalg.norm(g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@LAYERS
@KINDS
def test_dtype_is_preserved(kind: tuple[str, str], layers: int, dtype: type[np.floating]) -> None:
    e = Example(kind, layers, dtype=dtype)
    masks = dropout_masks(e.architecture, 7, 3, 0.25, np.random.default_rng(0), dtype)
    buffers = e.buffers()
    z = forward(e.p, e.ids, buffers, masks)
    assert z.dtype == buffers.state().dtype == dtype
    assert cross_entropy_and_gradient(z, e.targets.reshape(-1)).dtype == dtype
    assert z.dtype == dtype
    _, g = e.backward(e.ids, e.targets, e.state, masks)
    assert g.dtype == dtype
    assert np.isfinite(g).all()
    stepper = Stepper(e.architecture, e.params, 3)
    assert stepper.step(e.ids[0]).dtype == stepper.state.dtype == dtype


@LAYERS
@KINDS
def test_single_precision_forward_is_within_bound(kind: tuple[str, str], layers: int) -> None:
    single, double = (Example(kind, layers, dtype=dtype) for dtype in (np.float32, np.float64))
    double.params[:], double.state[:] = single.params, single.state  # use the same rounded values
    logits, exact = (e.logits(e.ids, e.buffers()) for e in (single, double))
    bound = single.bounds().logits + double.bounds().logits
    np.testing.assert_allclose(logits, exact, rtol=0, atol=bound)


@LAYERS
@KINDS
def test_evaluation_keeps_training_buffers(kind: tuple[str, str], layers: int) -> None:
    """Scoring and sampling during a training step keep the activation cache."""
    e = Example(kind, layers)
    masks = dropout_masks(e.architecture, 7, 3, 0.5, np.random.default_rng(0), np.float64)
    training = e.buffers(training=True)
    forward(e.p, e.ids, training, masks)
    arrays = [
        training.z,
        *training.dropped,
        *(a for t in training.caches for a in (t.gates, t.h, t.c, t.extra)),
    ]
    before, weights = [array.tobytes() for array in arrays], e.params.tobytes()
    e.logits(e.ids[::-1], e.buffers(state=-e.state))
    predict_stateful(e.architecture, e.params, np.tile(np.arange(6, dtype=np.uint8), 30))
    Stepper(e.architecture, e.params, 3).step(e.ids[0])
    assert [array.tobytes() for array in arrays] == before
    assert e.params.tobytes() == weights


@KINDS
def test_dropout_masks_apply_only_when_given(kind: tuple[str, str]) -> None:
    e = Example(kind, 2)
    masks = dropout_masks(e.architecture, 7, 3, 0.5, np.random.default_rng(0), np.float64)
    plain = e.logits(e.ids, e.buffers())
    assert abs(e.logits(e.ids, e.buffers(), masks) - plain).max() > 0.01
    unmasked = e.logits(e.ids, e.buffers(), np.ones_like(masks))
    np.testing.assert_allclose(unmasked, plain, rtol=0, atol=2 * e.bounds().logits)
    buffers = e.buffers()
    e.logits(e.ids, buffers, masks)
    buffers.set_state(e.state)
    assert e.logits(e.ids, buffers).tobytes() == plain.tobytes()


@DTYPES
@LAYERS
@KINDS
def test_stepper_matches_forward(kind: tuple[str, str], layers: int, dtype: type[np.floating]) -> None:
    e = Example(kind, layers, (9, 4, 6, 5), dtype)
    buffers, stepper = e.buffers(), Stepper(e.architecture, e.params, 4)
    stepper.state[:] = e.state
    expected = e.logits(e.ids, buffers)
    logits = np.stack([stepper.step(row) for row in e.ids])
    bound = e.bounds()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(stepper.state, buffers.state(), rtol=0, atol=2 * bound.state)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@LAYERS
@KINDS
def test_batched_generation_matches_single_streams(
    kind: tuple[str, str], layers: int, temperature: float
) -> None:
    e = Example(kind, layers, (1, 3, 6, 5))
    uniforms = np.random.default_rng(0).random((20, 3))

    def generate(columns: list[int]) -> Ids:
        stepper = Stepper(e.architecture, e.params, len(columns))
        stepper.state[:] = e.state[:, :, columns]
        logits = stepper.step(e.ids[0, columns])
        return np.array(list(continue_batch(stepper, logits, temperature, uniforms[:, columns])))

    batched = generate([0, 1, 2])
    assert batched.shape == (20, 3)
    for column in range(3):
        assert generate([column])[:, 0].tolist() == batched[:, column].tolist()
