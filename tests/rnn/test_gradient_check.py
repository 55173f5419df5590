"""Every gradient of every cell against differentiation that knows nothing of its derivation.

Complex step: df/dx = Im f(x + i eps) / eps. Nothing is subtracted, so eps can be so small that the
derivative is exact to rounding (Squire and Trapp 1998, "Using complex variables to estimate derivatives
of real functions"). How exact, network_error.py bounds, for networks that are not chaotic.
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
    """By central differences, the independent check: (L(w + d) - L(w - d)) / 2d."""
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
    """H=128 and V=27 with weights of a size at which one trains."""
    case = random_case(kind, layers, dropout, (20, 8, 128, 27))
    params = initialize(case.architecture, "orthogonal", np.random.default_rng(0), np.float64)
    return replace(case, params=contractive(case.architecture, params + 0.01 * case.params))


def bounds(case: Case, unit: float = DOUBLE) -> Bounds:
    return Bounds.of(case.architecture, case.params, case.ids, case.targets, case.state, case.masks, unit)


def assert_is_derivative(case: Case, exact: Array) -> None:
    """exact: by complex steps."""
    found, bound = case.gradient(), bounds(case)
    assert bound.gradient_norm <= 1e-9 * np.linalg.norm(exact), "else nothing is compared"
    views = [named_views(case.architecture, array) for array in (found, exact)]
    for name, expected in views[1].items():
        assert np.linalg.norm(views[0][name] - expected) <= COMPLEX * bound.gradient[name], name


def assert_is_derivative_along(case: Case, v: Array, gradient_error: float) -> None:
    """Along a direction: by Cauchy and Schwarz, and the rounding of the scalar product itself."""
    analytic = float(v @ case.gradient())
    numeric = float(
        case.loss(case.params + v * (EPS * 1j)).imag / EPS
    )  # one complex step: any size of network
    product = gamma(v.size, DOUBLE) * float(abs(v) @ abs(case.gradient()))
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
    # rounding: of two losses over 2 widths, and the gradient's; the difference itself: width^2 / 6 of the
    # third derivative, 2e-11 of it, so that rel allows it 6e4 times the first
    bound, width = bounds(case), 1e-5
    rounding = bound.loss / width + bound.gradient_norm
    assert case.gradient() == pytest.approx(finite_differences(case, width), rel=1e-6, abs=rounding)
    assert rounding < 1e-6, "else nothing is compared"


@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.3)])
@KINDS
def test_full_size_gradient_projection(kind: tuple[str, str], layers: int, dropout: float) -> None:
    case = full_size(kind, layers, dropout)
    bound = bounds(case).gradient_norm
    for direction in range(3):
        v = np.random.default_rng(direction).standard_normal(case.params.size)
        assert_is_derivative_along(case, v, bound)


@KINDS
def test_chunked_gradient_projection(kind: tuple[str, str]) -> None:
    """A batch so long that the products over time are taken some steps at a time."""
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
    state = case.state.astype(np.float32).astype(np.float64)  # as the buffers hold it
    case = replace(case, params=params.astype(np.float64), state=state)
    exact, bound = case.gradient(), bounds(case, UNIT).gradient_norm
    assert np.linalg.norm(single - exact) <= bound <= 2e-3 * np.linalg.norm(exact)


def test_random_case_has_dropout_and_state() -> None:
    """Or what is proved above with dropout would be proved without."""
    with_dropout, without = (
        random_case(("lstm", "tanh"), 3, dropout, (4, 3, 5, 7)) for dropout in (0.4, 0.0)
    )
    assert without.masks is None
    assert with_dropout.masks is not None
    assert with_dropout.masks.shape == (2, 4, 3, 5)
    assert np.unique(with_dropout.masks).tolist() == [0, 1 / (1 - 0.4)]
    assert with_dropout.state.all()


def test_gradient_check_detects_error() -> None:
    """Or everything above would prove nothing: a thousandth off in one parameter is reported by name."""
    case = random_case(("gru", "tanh"), 2, 0.0, (4, 3, 5, 7))
    gradient = case.gradient()
    unflatten(case.architecture, gradient).layers[1].bh[:] *= 1.001
    name, error = max_relative_error(case.architecture, gradient, case.complex_step())
    assert name == "bh2"
    size = np.linalg.norm(named_views(case.architecture, gradient)["bh2"])
    assert error == pytest.approx(1e-3, rel=0, abs=float(COMPLEX * bounds(case).gradient["bh2"] / size))
