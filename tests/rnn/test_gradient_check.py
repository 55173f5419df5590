"""Every gradient of every cell compared with independent differentiation.

Complex step: df/dx = Im f(x + i eps) / eps. There is no subtraction, so eps can be tiny and the derivative is
exact up to rounding (Squire and Trapp 1998, "Using complex variables to estimate derivatives of real
functions"). network_error.py bounds the rounding for non-chaotic networks.
"""

from dataclasses import replace

import numpy as np
import pytest

from src.rnn.blocked_matmul import Tiling, k_chunk
from src.rnn.gradient_check import EPS, Case, max_relative_error
from src.rnn.parameters import RNNConfig, initialize, named_views, unflatten
from tests.cell_example import KINDS, Kind, Shape
from tests.network_error import Bounds
from tests.rounding import COMPLEX, DOUBLE, contractive, gamma

# T, B, H, V
SHAPES = [(1, 1, 1, 2), (1, 3, 2, 2), (4, 1, 1, 3), (3, 2, 1, 2), (5, 1, 3, 3), (9, 2, 2, 2), (3, 3, 3, 4)]
CASES = [(layers, 0.4, shape) for layers in (1, 2) for shape in SHAPES]
CASES += [(layers, dropout, SHAPES[-1]) for layers, dropout in ((1, 0.0), (2, 0.0), (3, 0.4))]


def random_case(kind: Kind, layers: int, dropout: float, shape: Shape) -> Case:
    steps, batch, hidden, vocab = shape
    architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
    rng = np.random.default_rng([0, layers, *shape])
    case = Case.random(architecture, steps, batch, dropout, rng)
    contractive(architecture, case.params)
    assert (case.masks is not None) == (dropout > 0)
    assert case.state.all()
    return case


def bounds(case: Case) -> Bounds:
    return Bounds.of(case.architecture, case.params, case.ids, case.targets, case.state, case.masks)


@pytest.mark.parametrize(("layers", "dropout", "shape"), CASES)
@KINDS
def test_gradient_equals_complex_step(kind: Kind, layers: int, dropout: float, shape: Shape) -> None:
    case = random_case(kind, layers, dropout, shape)
    gradient, exact, bound = case.gradient(), case.complex_step(), bounds(case)
    assert bound.gradient_norm <= 1e-9 * np.linalg.norm(exact), "the bound is too large for a comparison"
    found = named_views(case.architecture, gradient)
    for name, expected in named_views(case.architecture, exact).items():
        assert np.linalg.norm(found[name] - expected) <= COMPLEX * bound.gradient[name], name


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (4, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@KINDS
def test_gradient_equals_finite_difference(kind: Kind, layers: int, shape: Shape) -> None:
    """Central differences along random directions, without complex numbers."""
    case = random_case(kind, layers, 0.3, shape)
    # rounding of two losses, and of the gradient; the truncation error is
    # width^2 / 6 = 2e-11 of the third derivative, and rel allows 6e4 times as much
    bound, width = bounds(case), 1e-5
    rounding = bound.loss / width + bound.gradient_norm
    assert rounding < 1e-6, "the bound is too large for a comparison"
    rng, gradient = np.random.default_rng(0), case.gradient()
    for _ in range(5):
        v = rng.standard_normal(case.params.size)
        v /= np.linalg.norm(v)
        above, below = (float(case.loss(case.params + sign * width * v)) for sign in (1, -1))
        assert v @ gradient == pytest.approx((above - below) / (2 * width), rel=1e-6, abs=rounding)


@KINDS
def test_gradient_of_tiled_and_chunked_products(kind: Kind) -> None:
    """The sizes and weights are as in training; one direction is compared by a complex step."""
    case = random_case(kind, 2, 0.3, (8, 32, 128, 27))
    assert Tiling.for_shape(32, 128).columns < 128
    assert k_chunk(27, case.ids.size) < case.ids.size
    params = initialize(case.architecture, "orthogonal", np.random.default_rng(0), np.float64)
    case = replace(case, params=contractive(case.architecture, params + 0.01 * case.params))
    v = np.random.default_rng(0).standard_normal(case.params.size)
    gradient = case.gradient()
    numeric = float(case.loss(case.params + v * (EPS * 1j)).imag / EPS)
    product = gamma(v.size, DOUBLE) * float(abs(v) @ abs(gradient))  # rounding of the dot product
    bound = COMPLEX * float(np.linalg.norm(v)) * bounds(case).gradient_norm + product  # Cauchy-Schwarz
    assert abs(v @ gradient - numeric) <= bound <= 1e-4 * abs(numeric)


def test_gradient_check_detects_error() -> None:
    """An error of 0.1% in one parameter is reported by name."""
    case = random_case(("gru", "tanh"), 2, 0.0, (4, 3, 3, 4))
    gradient = case.gradient()
    unflatten(case.architecture, gradient).layers[1].bh[:] *= 1.001
    name, error = max_relative_error(case.architecture, gradient, case.complex_step())
    assert name == "bh2"
    size = np.linalg.norm(named_views(case.architecture, gradient)["bh2"])
    assert error == pytest.approx(1e-3, rel=0, abs=float(COMPLEX * bounds(case).gradient["bh2"] / size))
