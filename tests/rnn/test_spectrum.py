"""Spectral radius and singular values of recurrent matrices."""

import numpy as np
import pytest

from src.rnn.parameters import Array, RNNConfig, unflatten
from src.rnn.state_gradients import recurrent_matrices, singular_values, spectral_radius
from tests.rounding import DOUBLE, UNIT, gamma, radius_error

# Of a matrix that is not normal it is too large by the factor k^(1 / 4096), by 0.3% up to k = 200,000.
NOT_NORMAL = 200_000 ** (1 / 4096) - 1


def exact(w: Array) -> float:
    return float(abs(np.linalg.eigvals(w.astype(np.float64))).max())


@pytest.mark.parametrize("units", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_radius_of_a_random_matrix_is_that_of_its_eigenvalues(units: int, dtype: type[np.floating]) -> None:
    for seed in range(5):
        w = np.random.default_rng([seed, units]).standard_normal((units, units)).astype(dtype)
        unit = UNIT if dtype == np.float32 else DOUBLE
        rounding = 2 * units**0.5 * gamma(units + 2, unit)  # as in radius_error
        assert exact(w) * (1 - rounding) <= spectral_radius(w) <= exact(w) * (1 + NOT_NORMAL + rounding)


def test_a_rotation_whose_eigenvalues_are_a_complex_pair() -> None:
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert spectral_radius(turn) == pytest.approx(0.9, rel=radius_error(2, DOUBLE))


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_no_power_overflows_or_vanishes(scale: float) -> None:
    w = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    assert spectral_radius(w * np.float32(scale)) == pytest.approx(exact(w) * scale, rel=NOT_NORMAL, abs=0)


def test_far_from_normal_it_stays_close() -> None:
    """A triangular matrix with large entries above its diagonal: its norm says nothing of its eigenvalues."""
    w = np.triu(np.full((12, 12), 5.0), 1) + np.diag(np.linspace(0.1, 0.8, 12))
    assert np.linalg.norm(w) > 40
    assert 0.8 <= spectral_radius(w) <= 0.8 * 1.02


def test_zero_and_nilpotent_matrices_have_none() -> None:
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0
    assert spectral_radius(np.triu(np.ones((5, 5)), 1)) == 0


def test_a_matrix_that_is_not_finite_has_none_either() -> None:
    assert np.isnan(spectral_radius(np.full((2, 2), np.nan)))
    with np.errstate(all="ignore"):
        assert not np.isfinite(spectral_radius(np.full((2, 2), np.inf)))


def test_singular_values_stretch_no_further() -> None:
    w = np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)
    values = singular_values(w)
    assert values.dtype == np.float32
    assert (np.diff(values) <= 0).all()
    # each is off by about u times the largest and the size (LAPACK Users' Guide, section 4.9)
    off = float(9 * UNIT * (values[0] / values).sum())
    assert np.prod(values) == pytest.approx(abs(np.linalg.det(w.astype(np.float64))), rel=off)
    assert off < 2e-4, "else nothing is compared"
    assert values[0] >= spectral_radius(w) * 0.999


@pytest.mark.parametrize(("cell", "candidate"), [("rnn", 0), ("gru", 2), ("lstm", 3)])
def test_the_recurrent_matrix_of_a_gated_cell_is_the_candidates(cell: str, candidate: int) -> None:
    """The order of the gates is that of the cells' equations: the candidate is the last."""
    p = unflatten(a := RNNConfig(5, 4, cell, layers=2), np.zeros(a.size()))
    first, second = recurrent_matrices(p)
    first[:], second[:] = 1, 2
    assert [float(gate.mean()) for gate in p.layers[0].wh] == [float(k == candidate) for k in range(a.gates)]
    assert float(p.layers[1].wh[candidate].mean()) == 2
