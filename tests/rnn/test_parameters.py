"""Initial parameters."""

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.parameters import SCHEMES, Array, Parameters, RNNConfig, initialize, unflatten
from tests.cell_example import KINDS, Kind
from tests.rounding import DOUBLE, UNIT, gamma

PAIRS = [(kind, scheme) for kind in CELLS for scheme in SCHEMES if scheme != "identity" or kind[0] == "rnn"]
BOUND = 1 / np.sqrt(32)  # of uniform weights


def fresh(
    scheme: str,
    seed: int = 0,
    dtype: type[np.floating] = np.float64,
    hidden: int = 32,
    kind: Kind = ("rnn", "tanh"),
) -> tuple[Array, Parameters]:
    """Return the flat parameters of two layers, and their views."""
    architecture = RNNConfig(27, hidden, kind[0], 2, kind[1])
    params = initialize(architecture, scheme, np.random.default_rng(seed), dtype)
    return params, unflatten(architecture, params)


def assert_uniform(matrix: Array) -> None:
    assert 0.95 * BOUND < matrix.max() <= BOUND
    assert -BOUND <= matrix.min() < -0.95 * BOUND
    assert abs(matrix.mean()) < 5 * BOUND / (3 * matrix.size) ** 0.5  # standard error of a uniform mean


@pytest.mark.parametrize(("kind", "scheme"), PAIRS, ids=["-".join((*kind, scheme)) for kind, scheme in PAIRS])
def test_initial_parameters(kind: Kind, scheme: str) -> None:
    params, p = fresh(scheme, 3, kind=kind)
    assert_uniform(p.wy)
    assert not p.by.any()
    for layer in p.layers:
        assert_uniform(layer.wx)
        if scheme == "uniform":
            assert_uniform(layer.wh)
        elif scheme == "identity":
            assert (layer.wh == np.eye(32)).all()
        assert not layer.bh.any()
        expected = np.zeros_like(layer.b)
        if kind[0] == "lstm":
            expected[2] = 1  # o, i, f, g
        assert (layer.b == expected).all()
    single = fresh(scheme, 3, np.float32, kind=kind)[0]
    assert params.dtype == np.float64
    assert single.dtype == np.float32
    assert single.tobytes() == params.astype(np.float32).tobytes()
    assert fresh(scheme, 4, kind=kind)[0].tobytes() != params.tobytes()


# Error of Householder QR: sqrt(n) gamma(n^2) for the columns of an (n, n) matrix (Higham, theorem 19.4
# and section 19.3), twice that and gamma(n) for a scalar product of two, 2 u for float32.
ORTHOGONAL = 2 * 32**0.5 * gamma(32**2, DOUBLE) + gamma(32, DOUBLE)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, ORTHOGONAL), (np.float32, ORTHOGONAL + gamma(2, UNIT))]
)
@KINDS
def test_orthogonal_init_of_every_gate(kind: Kind, dtype: type[np.floating], tolerance: float) -> None:
    _, p = fresh("orthogonal", dtype=dtype, kind=kind)
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


def test_invalid_initialization_is_rejected() -> None:
    with pytest.raises(
        ValueError, match="expected the initialization uniform, orthogonal, identity, got 'xavier'"
    ):
        fresh("xavier")
    with pytest.raises(ValueError, match="expected cell rnn for the initialization identity, got gru"):
        fresh("identity", kind=("gru", "tanh"))
