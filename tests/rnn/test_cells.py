"""Requirements of every cell, compared with reference equations.

Two computations are within the bounds of network_error.py, so they differ by at most twice the bound.
"""

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.loss import cross_entropy_and_gradient
from src.rnn.network import Ids, forward
from src.rnn.parameters import Array, Parameters
from src.rnn.step import Stepper
from tests.cell_example import DTYPES, KINDS, LAYERS, ORACLES, Example, Kind, Shape

# T, B, H, V; the last one uses tiled products.
SHAPES = [(1, 3, 4, 5), (6, 1, 4, 5), (6, 3, 1, 5), (6, 3, 4, 2), (1, 1, 1, 2), (7, 3, 5, 6), (3, 16, 96, 5)]


def reference_forward(
    kind: Kind, p: Parameters, ids: Ids, state: Array, masks: Array | None = None
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
    ("shape", "dropout"), [*((shape, False) for shape in SHAPES[:-1]), *((shape, True) for shape in SHAPES)]
)
@LAYERS
@KINDS
def test_forward_and_loss_match_reference(kind: Kind, layers: int, shape: Shape, dropout: bool) -> None:
    e = Example(kind, layers, shape)
    masks, buffers = e.masks() if dropout else None, e.buffers(training=True)
    expected, last = reference_forward(kind, e.p, e.ids, e.state, masks)
    bound = e.bounds(masks)
    np.testing.assert_allclose(e.logits(e.ids, buffers, masks), expected, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(buffers.state(), last, rtol=0, atol=2 * bound.state)
    of_targets = np.take_along_axis(expected, e.targets[..., None], axis=2)[..., 0]
    loss = (np.log(np.exp(expected).sum(axis=2)) - of_targets).mean()
    assert e.backward(masks=masks)[0] == pytest.approx(loss, rel=0, abs=2 * bound.loss)


@pytest.mark.parametrize("cut", [1, 4, 6])
@LAYERS
@KINDS
def test_forward_in_two_parts(kind: Kind, layers: int, cut: int) -> None:
    """The second part begins with the last state of the first."""
    e = Example(kind, layers, (8, 3, 5, 6))
    whole, first = e.buffers(), e.buffers(cut)
    logits, before = e.logits(e.ids, whole), e.logits(e.ids[:cut], first)
    second = e.buffers(8 - cut, state=first.state())
    after, bound = e.logits(e.ids[cut:], second), e.bounds()
    np.testing.assert_allclose(np.concatenate((before, after)), logits, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(second.state(), whole.state(), rtol=0, atol=2 * bound.state)
    if cut == 4:
        first.carry()
        assert e.logits(e.ids[4:], first).tobytes() == after.tobytes()


@LAYERS
@KINDS
def test_final_state_can_be_set_and_initial_state_reset(kind: Kind, layers: int) -> None:
    e = Example(kind, layers)
    buffers = e.buffers()
    e.logits(e.ids[::-1], buffers)
    buffers.set_state(e.state, -1)
    copy = buffers.state()
    assert copy.tobytes() == e.state.tobytes()
    buffers.carry()
    assert e.logits(e.ids, buffers).tobytes() == e.logits(e.ids, e.buffers()).tobytes()
    buffers.reset()
    zero = e.buffers(state=np.zeros_like(e.state))
    assert e.logits(e.ids, buffers).tobytes() == e.logits(e.ids, zero).tobytes()
    assert copy.tobytes() == e.state.tobytes()


@DTYPES
@LAYERS
@KINDS
def test_dtype_is_preserved(kind: Kind, layers: int, dtype: type[np.floating]) -> None:
    """Mixed precision would convert the whole matrix in each product."""
    e = Example(kind, layers, dtype=dtype)
    buffers, stepper = e.buffers(), Stepper(e.architecture, e.params, 3)
    z = forward(e.p, e.ids, buffers, e.masks())
    loss = cross_entropy_and_gradient(z, e.targets.reshape(-1))
    _, g = e.backward(masks=e.masks())
    prepared = [*stepper.inputs, *stepper.biases, *stepper.recurrent, stepper.state, stepper.step(e.ids[0])]
    assert {array.dtype for array in (z, loss, buffers.state(), g, *prepared)} == {np.dtype(dtype)}
    assert np.isfinite(g).all()


@LAYERS
@KINDS
def test_single_precision_is_within_bound(kind: Kind, layers: int) -> None:
    single, double = Example.in_both_precisions(kind, layers, (4, 3, 16, 7), 0.3)
    bounds = single.bounds(), double.bounds()
    logits, exact = (e.logits(e.ids, e.buffers()) for e in (single, double))
    np.testing.assert_allclose(logits, exact, rtol=0, atol=sum(b.logits for b in bounds))
    g, exact = (e.backward()[1] for e in (single, double))
    bound = sum(b.gradient_norm for b in bounds)
    assert np.linalg.norm(g - exact) <= bound <= 0.01 * np.linalg.norm(exact)


@LAYERS
@KINDS
def test_passes_are_independent(kind: Kind, layers: int) -> None:
    """Buffers can be used again, and a pass changes neither its inputs nor the cache of another pass."""
    e = Example(kind, layers)
    masks, training = e.masks(), e.buffers(training=True)
    inputs = e.params, e.ids, e.targets, e.state, masks
    before = [array.tobytes() for array in inputs]
    fresh = e.backward()
    e.backward(masks=masks, buffers=training)
    cached = [a for cache in training.caches for a in (cache.blocks, cache.h, cache.c)]
    cached_before = [array.tobytes() for array in (training.z, *training.dropped, *cached)]
    e.logits(e.ids[::-1], e.buffers(state=-e.state))
    Stepper(e.architecture, e.params, 3).step(e.ids[0])
    assert [array.tobytes() for array in (training.z, *training.dropped, *cached)] == cached_before
    again = e.backward(buffers=training)
    assert (again[0], again[1].tobytes()) == (fresh[0], fresh[1].tobytes())
    assert [array.tobytes() for array in inputs] == before


@DTYPES
@LAYERS
@KINDS
def test_stepper_matches_forward(kind: Kind, layers: int, dtype: type[np.floating]) -> None:
    e = Example(kind, layers, (9, 4, 6, 5), dtype)
    buffers, stepper = e.buffers(), Stepper(e.architecture, e.params, 4)
    assert not stepper.state.any()
    stepper.state[:] = e.state
    expected = e.logits(e.ids, buffers)
    logits = np.stack([stepper.step(row) for row in e.ids])
    bound = e.bounds()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2 * bound.logits)
    np.testing.assert_allclose(stepper.state, buffers.state(), rtol=0, atol=2 * bound.state)
