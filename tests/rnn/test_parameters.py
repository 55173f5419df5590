"""Initial parameters."""

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.parameters import SCHEMES, Array, Parameters, RNNConfig, initialize, unflatten
from tests.rounding import DOUBLE, UNIT, gamma

PAIRS = [(kind, scheme) for kind in CELLS for scheme in SCHEMES if scheme != "identity" or kind[0] == "rnn"]
IDS = ["-".join((*kind, scheme)) for kind, scheme in PAIRS]
EVERY = pytest.mark.parametrize(("kind", "scheme"), PAIRS, ids=IDS)


def fresh(
    scheme: str,
    seed: int = 0,
    dtype: type[np.floating] = np.float64,
    hidden: int = 32,
    kind: tuple[str, str] = ("rnn", "tanh"),
    layers: int = 1,
) -> tuple[Array, Parameters]:
    architecture = RNNConfig(27, hidden, kind[0], layers, kind[1])
    params = initialize(architecture, scheme, np.random.default_rng(seed), dtype)
    return params, unflatten(architecture, params)


# Error of Householder QR: sqrt(n) gamma(n^2) for the columns of an (n, n) matrix (Higham, theorem 19.4
# and section 19.3), twice that and gamma(n) for a scalar product of two, 2 u for float32.
ORTHOGONAL = 2 * 32**0.5 * gamma(32**2, DOUBLE) + gamma(32, DOUBLE)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, ORTHOGONAL), (np.float32, ORTHOGONAL + gamma(2, UNIT))]
)
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_orthogonal_init_of_every_gate(
    kind: tuple[str, str], dtype: type[np.floating], tolerance: float
) -> None:
    _, p = fresh("orthogonal", dtype=dtype, kind=kind, layers=2)
    gates = [gate for layer in p.layers for gate in layer.wh]
    for gate in gates:
        exact = gate.astype(np.float64)
        np.testing.assert_allclose(exact.T @ exact, np.eye(32), rtol=0, atol=tolerance)
    assert len({gate.tobytes() for gate in gates}) == len(gates)


def test_orthogonal_init_is_haar_distributed() -> None:
    """The trace of a Haar-distributed matrix has mean 0 and variance 1."""
    traces = [np.trace(fresh("orthogonal", seed, hidden=4)[1].layers[0].wh[0]) for seed in range(400)]
    assert abs(np.mean(traces)) < 4 * 400**-0.5  # standard errors of mean and variance
    assert abs(np.var(traces) - 1) < 3.5 * (2 / 400) ** 0.5


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_identity_init_of_every_layer(activation: str) -> None:
    _, p = fresh("identity", kind=("rnn", activation), layers=3)
    for layer in p.layers:
        assert (layer.wh == np.eye(32)).all()


@EVERY
def test_uniform_init_fills_bounds(kind: tuple[str, str], scheme: str) -> None:
    _, p = fresh(scheme, kind=kind, layers=2)
    bound = 1 / np.sqrt(32)
    matrices = [layer.wx for layer in p.layers] + [p.wy]
    if scheme == "uniform":
        matrices += [layer.wh for layer in p.layers]
    for matrix in matrices:
        assert 0.95 * bound < matrix.max() <= bound
        assert -bound <= matrix.min() < -0.95 * bound
        assert abs(matrix.mean()) < 5 * bound / (3 * matrix.size) ** 0.5  # standard error of a uniform mean


@EVERY
def test_initial_biases(kind: tuple[str, str], scheme: str) -> None:
    _, p = fresh(scheme, kind=kind, layers=2)
    assert not p.by.any()
    for layer in p.layers:
        assert not layer.bh.any()
        expected = np.zeros_like(layer.b)
        if kind[0] == "lstm":
            expected[2] = 1  # o, i, f, g
        assert (layer.b == expected).all()


@EVERY
def test_initial_weights_depend_on_seed(kind: tuple[str, str], scheme: str) -> None:
    params = fresh(scheme, 3, kind=kind, layers=2)[0].tobytes()
    assert fresh(scheme, 3, kind=kind, layers=2)[0].tobytes() == params
    assert fresh(scheme, 4, kind=kind, layers=2)[0].tobytes() != params


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@EVERY
def test_initial_weights_are_finite_with_requested_dtype(
    kind: tuple[str, str], scheme: str, dtype: type[np.floating]
) -> None:
    params, _ = fresh(scheme, dtype=dtype, kind=kind)
    assert params.dtype == dtype
    assert np.isfinite(params).all()


def test_unknown_initialization_is_rejected() -> None:
    with pytest.raises(
        ValueError, match="expected the initialization uniform, orthogonal, identity, got 'xavier'"
    ):
        fresh("xavier")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_identity_init_of_gated_cell_is_rejected(cell: str) -> None:
    with pytest.raises(ValueError, match=f"expected cell rnn for the initialization identity, got {cell}"):
        fresh("identity", kind=(cell, "tanh"))
