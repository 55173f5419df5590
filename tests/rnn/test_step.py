"""Precision and initial state of the stepper. (test_cells.py compares it with `forward`.)"""

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.network import Buffers, forward
from src.rnn.parameters import RNNConfig, unflatten
from src.rnn.step import Stepper
from tests.network_error import Bounds
from tests.rounding import contractive


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_stepper_keeps_dtype(kind: tuple[str, str], dtype: type[np.floating]) -> None:
    """Mixed precision would convert the whole matrix in each product."""
    architecture = RNNConfig(5, 4, kind[0], 2, kind[1])
    stepper = Stepper(architecture, np.ones(architecture.size(), dtype), 3)
    prepared = [*stepper.inputs, *stepper.biases, *stepper.recurrent, stepper.state]
    assert {array.dtype for array in prepared} == {np.dtype(dtype)}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_stepper_starts_from_zero_state(kind: tuple[str, str], layers: int) -> None:
    architecture = RNNConfig(5, 4, kind[0], layers, kind[1])
    drawn = np.random.default_rng(layers).standard_normal(architecture.size())
    params = contractive(architecture, drawn)
    ids = np.random.default_rng(0).integers(5, size=(6, 3))
    buffers, stepper = Buffers.allocate(architecture, 6, 3, params.dtype), Stepper(architecture, params, 3)
    expected = forward(unflatten(architecture, params), ids, buffers).T.reshape(6, 3, 5)
    logits = np.stack([stepper.step(row) for row in ids])
    bound = Bounds.of(architecture, params, ids).logits  # of each of the two computations
    np.testing.assert_allclose(logits, expected, rtol=0, atol=2 * bound)
