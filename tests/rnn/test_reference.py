"""The tuned engine computes what the reference implementation computes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.rnn.network import loss_and_gradient
from src.rnn.parameters import named_views, unflatten
from src.rnn.reference import CELLS
from src.rnn.reference import loss_and_gradient as reference_loss_and_gradient
from tests.cell_example import Example
from tests.commands import PROJECT

TOLERANCE = 1e-12  # relative to the norm of each array


@pytest.mark.parametrize("cell", CELLS)
@settings(max_examples=20, deadline=None)
@given(
    layers=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 20), st.integers(2, 9)),
)
def test_engine_matches_reference(cell: str, layers: int, shape: tuple[int, int, int, int]) -> None:
    example = Example((cell, "tanh"), layers, shape)
    found = np.full_like(example.params, np.nan)
    buffers = example.buffers(training=True)
    loss = loss_and_gradient(
        example.p, unflatten(example.architecture, found), example.ids, example.targets, buffers
    )
    expected_loss, expected = reference_loss_and_gradient(
        example.architecture, example.params, example.ids, example.targets, example.state
    )
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE)
    gradients = named_views(example.architecture, expected)
    for name, array in named_views(example.architecture, found).items():
        scale = np.linalg.norm(gradients[name])
        assert np.linalg.norm(array - gradients[name]) <= TOLERANCE * scale, name


def test_reference_is_short() -> None:
    text = (PROJECT / "src" / "rnn" / "reference.py").read_text(encoding="utf-8")
    assert text.count("\n") <= 200
