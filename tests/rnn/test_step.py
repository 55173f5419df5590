"""Precision and initial state of the stepper. (test_cells.py compares it with `forward`.)"""

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.parameters import RNNConfig
from src.rnn.step import Stepper


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_stepper_keeps_dtype(kind: tuple[str, str], dtype: type[np.floating]) -> None:
    """Mixed precision would convert the whole matrix in each product."""
    architecture = RNNConfig(5, 4, kind[0], 2, kind[1])
    stepper = Stepper(architecture, np.ones(architecture.size(), dtype), 3)
    prepared = [*stepper.inputs, *stepper.biases, *stepper.recurrent, stepper.state]
    assert {array.dtype for array in prepared} == {np.dtype(dtype)}
    assert not stepper.state.any()
