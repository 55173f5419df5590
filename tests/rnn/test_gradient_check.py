"""Every gradient of every cell compared with independent differentiation.

Complex step: df/dx = Im f(x + i eps) / eps. There is no subtraction, so eps can be tiny and the derivative is
exact up to rounding (Squire and Trapp 1998, "Using complex variables to estimate derivatives of real
functions"). network_error.py bounds the rounding for non-chaotic networks.
"""

from dataclasses import replace

import numpy as np
import pytest

from src.rnn.blocked_matmul import k_chunk
from src.rnn.cells import CELLS
from src.rnn.gradient_check import EPS, Case, max_relative_error
from src.rnn.network import Buffers, loss_and_gradient
from src.rnn.parameters import Array, RNNConfig, initialize, named_views, unflatten
from tests.network_error import Bounds
from tests.rounding import COMPLEX, DOUBLE, UNIT, contractive, gamma

KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
SHAPES = [  # T, B, H, V
    (1, 1, 1, 2),
    (1, 1, 3, 4),
    (1, 3, 2, 2),
    (4, 1, 1, 3),
    (3, 2, 1, 2),
    (5, 1, 4, 3),
    (9, 2, 3, 2),
]


def random_case(
    kind: tuple[str, str], layers: int, dropout: float, shape: tuple[int, int, int, int], seed: int = 0
) -> Case:
    steps, batch, hidden, vocab = shape
    architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
    rng = np.random.default_rng([seed, layers, *shape])
    case = Case.random(architecture, steps, batch, dropout, rng)
    contractive(architecture, case.params)
    return case


def finite_differences(case: Case, width: float) -> Array:
    """Return central differences, (L(w + d) - L(w - d)) / 2d, as an independent check."""
    derivative = np.empty_like(case.params)
    moved = case.params.copy()
    for k in range(case.params.size):
        moved[k] = case.params[k] + width
        above = case.loss(moved)
        moved[k] = case.params[k] - width
        derivative[k] = (above - case.loss(moved)) / (2 * width)
        moved[k] = case.params[k]
    return derivative


def full_size(kind: tuple[str, str], layers: int, dropout: float) -> Case:
    """Return a case with H=128, V=27 and weights as in training."""
    case = random_case(kind, layers, dropout, (8, 8, 128, 27))
    params = initialize(case.architecture, "orthogonal", np.random.default_rng(0), np.float64)
    return replace(case, params=contractive(case.architecture, params + 0.01 * case.params))


def bounds(case: Case, unit: float = DOUBLE) -> Bounds:
    return Bounds.of(case.architecture, case.params, case.ids, case.targets, case.state, case.masks, unit)


def assert_is_derivative(case: Case, exact: Array) -> None:
    """Compare the gradient with the complex-step derivative `exact`."""
    found, bound = case.gradient(), bounds(case)
    assert bound.gradient_norm <= 1e-9 * np.linalg.norm(exact), "the bound is too large for a comparison"
    views = [named_views(case.architecture, array) for array in (found, exact)]
    for name, expected in views[1].items():
        assert np.linalg.norm(views[0][name] - expected) <= COMPLEX * bound.gradient[name], name


def assert_is_derivative_along(case: Case, v: Array, gradient_error: float) -> None:
    """Compare the projection on v (Cauchy-Schwarz, and the rounding of the dot product)."""
    gradient = case.gradient()
    analytic = float(v @ gradient)
    numeric = float(
        case.loss(case.params + v * (EPS * 1j)).imag / EPS
    )  # one complex step suffices for any size
    product = gamma(v.size, DOUBLE) * float(abs(v) @ abs(gradient))
    bound = COMPLEX * float(np.linalg.norm(v)) * gradient_error + product
    assert abs(analytic - numeric) <= bound <= 1e-4 * abs(numeric)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@KINDS
def test_gradient_equals_complex_step(kind: tuple[str, str], layers: int, dropout: float) -> None:
    case = random_case(kind, layers, dropout, (4, 3, 5, 7))
    assert_is_derivative(case, case.complex_step())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@KINDS
def test_gradient_equals_complex_step_for_small_shapes(
    kind: tuple[str, str], layers: int, shape: tuple[int, int, int, int]
) -> None:
    case = random_case(kind, layers, 0.3, shape)
    assert_is_derivative(case, case.complex_step())


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (4, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("layers", [1, 2])
@KINDS
def test_gradient_equals_finite_difference(
    kind: tuple[str, str], layers: int, shape: tuple[int, int, int, int]
) -> None:
    case = random_case(kind, layers, 0.3, shape)
    # rounding of two losses, and of the gradient; the truncation error is
    # width^2 / 6 = 2e-11 of the third derivative, and rel allows 6e4 times as much
    bound, width = bounds(case), 1e-5
    rounding = bound.loss / width + bound.gradient_norm
    assert case.gradient() == pytest.approx(finite_differences(case, width), rel=1e-6, abs=rounding)
    assert rounding < 1e-6, "the bound is too large for a comparison"


@KINDS
def test_full_size_gradient_projection(kind: tuple[str, str]) -> None:
    case = full_size(kind, 2, 0.3)
    v = np.random.default_rng(0).standard_normal(case.params.size)
    assert_is_derivative_along(case, v, bounds(case).gradient_norm)


@KINDS
def test_chunked_gradient_projection(kind: tuple[str, str]) -> None:
    """The batch is so long that products over time are computed in chunks."""
    case = random_case(kind, 1, 0.0, (8, 48, 64, 3))
    assert k_chunk(3, case.ids.size) < case.ids.size
    v = np.random.default_rng(0).standard_normal(case.params.size)
    assert_is_derivative_along(case, v, bounds(case).gradient_norm)


@KINDS
def test_single_precision_gradient_is_within_bound(kind: tuple[str, str]) -> None:
    case = random_case(kind, 2, 0.0, (4, 3, 16, 7))
    contractive(case.architecture, case.params, 0.3)
    params, single = case.params.astype(np.float32), np.full(case.params.size, np.nan, np.float32)
    steps, batch = case.ids.shape
    buffers = Buffers.allocate(case.architecture, steps, batch, np.float32, training=True)
    buffers.set_state(case.state)
    p, g = unflatten(case.architecture, params), unflatten(case.architecture, single)
    loss_and_gradient(p, g, case.ids, case.targets, buffers)
    state = case.state.astype(np.float32).astype(np.float64)  # precision of the buffers
    case = replace(case, params=params.astype(np.float64), state=state)
    exact, bound = case.gradient(), bounds(case, UNIT).gradient_norm
    assert np.linalg.norm(single - exact) <= bound <= 2e-3 * np.linalg.norm(exact)


def test_random_case_has_dropout_and_state() -> None:
    """Otherwise the tests above would not cover dropout."""
    with_dropout, without = (
        random_case(("lstm", "tanh"), 3, dropout, (4, 3, 5, 7)) for dropout in (0.4, 0.0)
    )
    assert without.masks is None
    assert with_dropout.masks is not None
    assert with_dropout.masks.shape == (2, 4, 3, 5)
    assert np.unique(with_dropout.masks).tolist() == [0, 1 / (1 - 0.4)]
    assert with_dropout.state.all()


def test_gradient_check_detects_error() -> None:
    """An error of 0.1% in one parameter is reported by name."""
    case = random_case(("gru", "tanh"), 2, 0.0, (4, 3, 5, 7))
    gradient = case.gradient()
    unflatten(case.architecture, gradient).layers[1].bh[:] *= 1.001
    name, error = max_relative_error(case.architecture, gradient, case.complex_step())
    assert name == "bh2"
    size = np.linalg.norm(named_views(case.architecture, gradient)["bh2"])
    assert error == pytest.approx(1e-3, rel=0, abs=float(COMPLEX * bounds(case).gradient["bh2"] / size))
