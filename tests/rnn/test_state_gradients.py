"""Gradients with respect to states compared with complex steps, and spectra of recurrent matrices.

The reference is that of the cells. A state is changed by i eps, and the rest of the pass follows from it.
"""

from functools import partial

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.gradient_check import EPS
from src.rnn.network import Buffers, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten
from src.rnn.state_gradients import (
    norm_by_distance,
    recurrent_matrices,
    singular_values,
    spectral_radius,
    state_gradients,
)
from tests.network_error import Bounds
from tests.rnn.test_cells import ORACLES
from tests.rounding import COMPLEX, DOUBLE, UNIT, contractive, gamma, radius_error

KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)


class Example:
    """A random, non-chaotic network with windows and a nonzero state."""

    def __init__(
        self,
        kind: tuple[str, str],
        layers: int,
        shape: tuple[int, int, int, int],
        dtype: type[np.floating] = np.float64,
        radius: float | None = None,
    ) -> None:
        self.kind = kind
        self.steps, self.batch, hidden, vocab = shape
        rng = np.random.default_rng([layers, *shape])
        self.architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
        drawn = 0.6 * rng.standard_normal(self.architecture.size())
        self.params = contractive(self.architecture, drawn, radius).astype(dtype)
        self.p = unflatten(self.architecture, self.params)
        self.ids = rng.integers(vocab, size=(self.steps, self.batch))
        self.targets = rng.integers(vocab, size=self.batch)
        self.state = rng.uniform(-0.9, 0.9, zero_state(self.architecture, self.batch).shape).astype(dtype)
        self.buffers = Buffers.allocate(self.architecture, self.steps, self.batch, dtype)

    def bounds(self, unit: float = DOUBLE) -> Bounds:
        targets = np.broadcast_to(self.targets, self.ids.shape)
        return Bounds.of(
            self.architecture, self.params, self.ids, targets, self.state, unit=unit, last_only=True
        )

    def gradients(self) -> Array:
        self.buffers.set_state(self.state)
        return state_gradients(self.p, self.ids, self.targets, self.buffers)

    def loss(self, column: int, index: tuple[int, int, int], delta: Array) -> complex:
        """Return the loss of the last character of one window, with `delta` added to the state at index
        (layer, state, step)."""
        last, target = self.state[:, :, column].astype(complex), self.targets[column]
        for t, character in enumerate(self.ids[:, column]):
            x = np.eye(self.p.by.size)[character]
            for k, layer in enumerate(self.p.layers):
                states = list(ORACLES[self.kind](layer, x, *last[k]))
                if index == (k, 0, t):
                    states[0] = states[0] + delta
                elif index == (k, 1, t):
                    h, c = states
                    states = [h / np.tanh(c) * np.tanh(c + delta), c + delta]
                last[k] = states
                x = last[k, 0]
        z = x @ self.p.wy + self.p.by
        return complex(np.log(np.exp(z).sum()) - z[target])

    def complex_steps(self) -> Array:
        """Return complex-step derivatives (L, S, T, B, H)."""
        a = self.architecture
        shape = (a.layers, a.states, self.steps, self.batch, a.hidden)
        derivative, deltas = np.empty(shape), np.eye(a.hidden) * EPS * 1j
        for k, s, t, column in np.ndindex(*shape[:4]):
            at = partial(self.loss, column, (k, s, t))
            derivative[k, s, t, column] = [at(delta).imag / EPS for delta in deltas]
        return derivative


@pytest.mark.parametrize("shape", [(5, 2, 4, 6), (1, 2, 3, 4), (4, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("layers", [1, 2, 3])
@KINDS
def test_state_gradients_equal_complex_step(
    kind: tuple[str, str], layers: int, shape: tuple[int, int, int, int]
) -> None:
    example = Example(kind, layers, shape)
    exact, found = example.complex_steps(), example.gradients()
    assert found.shape == exact.shape
    bound = example.bounds().states
    assert bound.max() <= 1e-10 * np.linalg.norm(exact), "the bound is too large for a comparison"
    for k, s, t in np.ndindex(*exact.shape[:3]):
        assert np.linalg.norm(found[k, s, t] - exact[k, s, t]) <= COMPLEX * bound[k, s, t], (k, s, t)
    assert np.linalg.norm(exact[-1, 0, -1]) > 0.01


@KINDS
def test_state_gradients_equal_finite_difference(kind: tuple[str, str]) -> None:
    """Central differences, without complex numbers."""
    example = Example(kind, 2, (4, 2, 3, 5))
    found = example.gradients()
    width, bound = 1e-5, example.bounds()
    # rounding of two losses, and of the gradient; the truncation error is
    # width^2 / 6 = 2e-11 of the third derivative, and rel allows 6e4 times as much
    rounding = bound.nats[-1] / width + bound.states.max()
    assert rounding < 1e-6, "the bound is too large for a comparison"
    for k, t in np.ndindex(2, 4):
        delta = np.array([0, width, 0])
        above, below = (example.loss(1, (k, 0, t), sign * delta).real for sign in (1, -1))
        assert found[k, 0, t, 1, 1] == pytest.approx((above - below) / (2 * width), rel=1e-6, abs=rounding)


@KINDS
def test_single_precision_state_gradients_are_within_bound(kind: tuple[str, str]) -> None:
    single, double = (Example(kind, 2, (6, 3, 16, 7), dtype, 0.3) for dtype in (np.float32, np.float64))
    found = single.gradients()
    assert found.dtype == np.float32
    double.params[:], double.state[:] = single.params, single.state  # use the same rounded values
    exact, bound = double.gradients(), single.bounds(UNIT).states + double.bounds().states
    assert bound[-1, 0, -1] < 0.01 * np.linalg.norm(exact[-1, 0, -1]), (
        "the bound is too large for a comparison"
    )
    assert (np.linalg.norm(found - exact, axis=(3, 4)) <= bound).all()


@KINDS
def test_state_gradients_keep_caches(kind: tuple[str, str]) -> None:
    example = Example(kind, 2, (6, 3, 4, 5))
    first = example.gradients()
    weights = example.params.tobytes()
    blocks = [cache.blocks.tobytes() for cache in example.buffers.caches]
    assert example.gradients().tobytes() == first.tobytes()
    assert [cache.blocks.tobytes() for cache in example.buffers.caches] == blocks
    assert example.params.tobytes() == weights


def test_norm_by_distance() -> None:
    gradients = np.zeros((1, 2, 3, 2, 2), np.float32)
    gradients[0, 0, 2] = [[3, 4], [0, 1]]  # at the loss
    gradients[0, 0, 0] = [[0.0, 0.5], [0.0, 0.0]]
    gradients[0, 1, 1] = [[1, 0], [1, 0]]
    norms = norm_by_distance(gradients)
    assert norms.dtype == np.float64
    assert norms.tolist() == [[[3, 0, 0.25], [0, 1, 0]]]


def test_norm_by_distance_does_not_underflow() -> None:
    assert norm_by_distance(np.full((1, 1, 1, 1, 4), 1e-30, np.float32)).item() == pytest.approx(
        2e-30, rel=UNIT
    )


def test_gradient_norms_of_linear_network() -> None:
    """With a relu that is always on: constant, vanishing and exploding gradients."""
    example = Example(("rnn", "relu"), 1, (8, 2, 4, 3))
    permutation = np.eye(4)[[2, 0, 3, 1]]
    example.p.wy[...] *= 1e-3  # keeps the softmax away from certainty
    example.p.layers[0].b[...] = 20  # always on
    for factor in (1.0, 0.5, 2.0):
        example.p.layers[0].wh[0] = permutation * factor
        norms = norm_by_distance(example.gradients())[0, 0]
        assert norms[0] > 1e-4
        # products are exact; norms have 4 squares and 2 windows
        expected = norms[0] * factor ** np.arange(8.0)
        np.testing.assert_allclose(norms, expected, rtol=2 * gamma(8, DOUBLE))


# Overestimation for non-normal matrices by k^(1 / 4096): 0.3% up to k = 200,000.
NOT_NORMAL = 200_000 ** (1 / 4096) - 1


def eigenvalue_radius(w: Array) -> float:
    return float(abs(np.linalg.eigvals(w.astype(np.float64))).max())


@pytest.mark.parametrize("units", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spectral_radius_of_random_matrix(units: int, dtype: type[np.floating]) -> None:
    for seed in range(5):
        w = np.random.default_rng([seed, units]).standard_normal((units, units)).astype(dtype)
        unit = UNIT if dtype == np.float32 else DOUBLE
        rounding = 2 * units**0.5 * gamma(units + 2, unit)  # as in radius_error
        assert (
            eigenvalue_radius(w) * (1 - rounding)
            <= spectral_radius(w)
            <= eigenvalue_radius(w) * (1 + NOT_NORMAL + rounding)
        )


def test_spectral_radius_of_rotation() -> None:
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert spectral_radius(turn) == pytest.approx(0.9, rel=radius_error(2, DOUBLE))


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_spectral_radius_does_not_overflow(scale: float) -> None:
    w = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    assert spectral_radius(w * np.float32(scale)) == pytest.approx(
        eigenvalue_radius(w) * scale, rel=NOT_NORMAL, abs=0
    )


def test_spectral_radius_of_non_normal_matrix() -> None:
    """A triangular matrix with large entries above its diagonal."""
    w = np.triu(np.full((12, 12), 5.0), 1) + np.diag(np.linspace(0.1, 0.8, 12))
    assert np.linalg.norm(w) > 40
    assert 0.8 <= spectral_radius(w) <= 0.8 * 1.02


def test_spectral_radius_of_nilpotent_matrix() -> None:
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0
    assert spectral_radius(np.triu(np.ones((5, 5)), 1)) == 0


def test_spectral_radius_of_nan_matrix() -> None:
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
    p = unflatten(a := RNNConfig(5, 4, cell, layers=2), np.zeros(a.size()))
    first, second = recurrent_matrices(p)
    first[:], second[:] = 1, 2
    assert [float(gate.mean()) for gate in p.layers[0].wh] == [float(k == candidate) for k in range(a.gates)]
    assert float(p.layers[1].wh[candidate].mean()) == 2
