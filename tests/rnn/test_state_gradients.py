"""Gradients with respect to states compared with complex steps, and spectra of recurrent matrices.

The reference is that of the cells. A state is changed by i eps, and the rest of the pass follows from it.
"""

import numpy as np
import pytest

from src.rnn.gradient_check import EPS
from src.rnn.parameters import Array, RNNConfig, unflatten
from src.rnn.state_gradients import (
    norm_by_distance,
    recurrent_matrices,
    singular_values,
    spectral_radius,
    state_gradients,
)
from tests.cell_example import DTYPES, KINDS, ORACLES, Example, Kind, Shape
from tests.rounding import COMPLEX, DOUBLE, UNIT, gamma, radius_error


def gradients_of(e: Example) -> Array:
    return state_gradients(e.p, e.ids, e.targets[-1], e.buffers())


def changed_loss(e: Example, kind: Kind, column: int, index: tuple[int, ...], delta: Array) -> complex:
    """Return the loss of the last character of one window, with `delta` added to the state at index
    (layer, state, step)."""
    last, target = e.state[:, :, column].astype(complex), e.targets[-1, column]
    for t, character in enumerate(e.ids[:, column]):
        x = np.eye(e.p.by.size)[character]
        for k, layer in enumerate(e.p.layers):
            states = list(ORACLES[kind](layer, x, *last[k]))
            if index == (k, 0, t):
                states[0] = states[0] + delta
            elif index == (k, 1, t):
                h, c = states
                states = [h / np.tanh(c) * np.tanh(c + delta), c + delta]
            last[k] = states
            x = last[k, 0]
    z = x @ e.p.wy + e.p.by
    return complex(np.log(np.exp(z).sum()) - z[target])


@pytest.mark.parametrize("shape", [(4, 2, 3, 5), (1, 2, 3, 4), (4, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("layers", [1, 2, 3])
@KINDS
def test_state_gradients_equal_complex_step(kind: Kind, layers: int, shape: Shape) -> None:
    e = Example(kind, layers, shape)
    found, bound = gradients_of(e), e.bounds(last_only=True).states
    exact, deltas = np.empty_like(found), np.eye(e.architecture.hidden) * EPS * 1j
    assert found.shape == (layers, e.architecture.states, e.steps, e.batch, e.architecture.hidden)
    for *index, column, unit in np.ndindex(*found.shape):
        loss = changed_loss(e, kind, column, tuple(index), deltas[unit])
        exact[*index, column, unit] = loss.imag / EPS
    assert bound.max() <= 1e-10 * np.linalg.norm(exact), "the bound is too large for a comparison"
    assert (np.linalg.norm(found - exact, axis=(3, 4)) <= COMPLEX * bound).all()
    assert np.linalg.norm(exact[-1, 0, -1]) > 0.01


@KINDS
def test_single_precision_state_gradients_are_within_bound(kind: Kind) -> None:
    single, double = Example.in_both_precisions(kind, 2, (6, 3, 16, 7), 0.3)
    found, exact = gradients_of(single), gradients_of(double)
    assert found.dtype == np.float32
    bound = single.bounds(last_only=True).states + double.bounds(last_only=True).states
    largest = 0.01 * np.linalg.norm(exact[-1, 0, -1])
    assert bound[-1, 0, -1] < largest, "the bound is too large for a comparison"
    assert (np.linalg.norm(found - exact, axis=(3, 4)) <= bound).all()


@KINDS
def test_state_gradients_keep_caches(kind: Kind) -> None:
    e = Example(kind, 2, (6, 3, 4, 5))
    weights, buffers = e.params.tobytes(), e.buffers()
    first = state_gradients(e.p, e.ids, e.targets[-1], buffers)
    blocks = [cache.blocks.tobytes() for cache in buffers.caches]
    assert state_gradients(e.p, e.ids, e.targets[-1], buffers).tobytes() == first.tobytes()
    assert [cache.blocks.tobytes() for cache in buffers.caches] == blocks
    assert e.params.tobytes() == weights


def test_norm_by_distance() -> None:
    gradients = np.zeros((1, 2, 3, 2, 2), np.float32)
    gradients[0, 0, 2] = [[3, 4], [0, 1]]  # at the loss
    gradients[0, 0, 0] = [[0.0, 0.5], [0.0, 0.0]]
    gradients[0, 1, 1] = [[1, 0], [1, 0]]
    norms = norm_by_distance(gradients)
    assert norms.dtype == np.float64
    assert norms.tolist() == [[[3, 0, 0.25], [0, 1, 0]]]
    tiny = np.full((1, 1, 1, 1, 4), 1e-30, np.float32)  # its squares would underflow
    assert norm_by_distance(tiny).item() == pytest.approx(2e-30, rel=UNIT)


def test_gradient_norms_of_linear_network() -> None:
    """With a relu that is always on: constant, vanishing and exploding gradients."""
    e = Example(("rnn", "relu"), 1, (8, 2, 4, 3))
    permutation = np.eye(4)[[2, 0, 3, 1]]
    e.p.wy[...] *= 1e-3  # keeps the softmax away from certainty
    e.p.layers[0].b[...] = 20  # always on
    for factor in (1.0, 0.5, 2.0):
        e.p.layers[0].wh[0] = permutation * factor
        norms = norm_by_distance(gradients_of(e))[0, 0]
        assert norms[0] > 1e-4
        # products are exact; norms have 4 squares and 2 windows
        expected = norms[0] * factor ** np.arange(8.0)
        np.testing.assert_allclose(norms, expected, rtol=2 * gamma(8, DOUBLE))


# Overestimation for non-normal matrices by k^(1 / 4096): 0.3% up to k = 200,000.
NOT_NORMAL = 200_000 ** (1 / 4096) - 1


def eigenvalue_radius(w: Array) -> float:
    return float(abs(np.linalg.eigvals(w.astype(np.float64))).max())


@pytest.mark.parametrize("units", [1, 2, 7, 64])
@DTYPES
def test_spectral_radius_of_random_matrix(units: int, dtype: type[np.floating]) -> None:
    unit = UNIT if dtype == np.float32 else DOUBLE
    rounding = 2 * units**0.5 * gamma(units + 2, unit)  # as in radius_error
    for seed in range(5):
        w = np.random.default_rng([seed, units]).standard_normal((units, units)).astype(dtype)
        exact = eigenvalue_radius(w)
        assert exact * (1 - rounding) <= spectral_radius(w) <= exact * (1 + NOT_NORMAL + rounding)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_spectral_radius_does_not_overflow(scale: float) -> None:
    w = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    expected = eigenvalue_radius(w) * scale
    assert spectral_radius(w * np.float32(scale)) == pytest.approx(expected, rel=NOT_NORMAL, abs=0)


def test_spectral_radius_of_special_matrices() -> None:
    rotation = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert spectral_radius(rotation) == pytest.approx(0.9, rel=radius_error(2, DOUBLE))
    not_normal = np.triu(np.full((12, 12), 5.0), 1) + np.diag(np.linspace(0.1, 0.8, 12))
    assert 0.8 <= spectral_radius(not_normal) <= 0.8 * 1.02
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0
    assert spectral_radius(np.triu(np.ones((5, 5)), 1)) == 0  # nilpotent
    assert np.isnan(spectral_radius(np.full((2, 2), np.nan)))
    with np.errstate(all="ignore"):
        assert not np.isfinite(spectral_radius(np.full((2, 2), np.inf)))


def test_singular_values() -> None:
    w = np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)
    values = singular_values(w)
    assert values.dtype == np.float32
    assert (np.diff(values) <= 0).all()
    # each has an error of u times the largest value and the size (LAPACK Users' Guide, 4.9)
    bound = float(9 * UNIT * (values[0] / values).sum())
    assert np.prod(values) == pytest.approx(abs(np.linalg.det(w.astype(np.float64))), rel=bound)
    assert bound < 2e-4, "the bound is too large for a comparison"
    assert values[0] >= spectral_radius(w) * 0.999


@pytest.mark.parametrize(("cell", "candidate"), [("rnn", 0), ("gru", 2), ("lstm", 3)])
def test_recurrent_matrix_of_gated_cell_is_candidate(cell: str, candidate: int) -> None:
    """The candidate is the last gate."""
    architecture = RNNConfig(5, 4, cell, layers=2)
    p = unflatten(architecture, np.zeros(architecture.size()))
    for k, matrix in enumerate(recurrent_matrices(p)):
        matrix[:] = k + 1
        expected = [(k + 1) * (gate == candidate) for gate in range(architecture.gates)]
        assert [float(gate.mean()) for gate in p.layers[k].wh] == expected
