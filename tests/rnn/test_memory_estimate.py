"""The memory formula compared with NumPy's allocations."""

import tracemalloc

import numpy as np
import pytest

from src.rnn.network import Buffers, loss_and_gradient
from src.rnn.optimizers import Adam, ema_update
from src.rnn.parameters import RNNConfig, unflatten
from tests.rnn.memory_estimate import training_bytes


def peak_of_a_step(architecture: RNNConfig, steps: int, batch: int) -> int:
    """Return the peak bytes of buffers, weights, a forward and backward pass, and an update."""
    rng = np.random.default_rng(0)
    ids = rng.integers(architecture.vocab, size=(steps, batch))
    tracemalloc.start()
    try:
        params = rng.standard_normal(architecture.size(), np.float32) * np.float32(0.1)
        gradient, averaged, _best = np.zeros_like(params), params.copy(), params.copy()
        adam = Adam(0.9, 0.999, 1e-8)
        state = adam.state(params)
        buffers = Buffers.allocate(architecture, steps, batch, training=True)
        p, g = unflatten(architecture, params), unflatten(architecture, gradient)
        loss_and_gradient(p, g, ids, ids, buffers)
        adam.update(state, params, gradient, 1e-3)
        ema_update(averaged, params, 0.9, 1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    ("vocab", "hidden", "layers", "steps", "batch"),
    [(27, 128, 1, 20, 64), (65, 256, 1, 32, 32), (65, 128, 2, 64, 32), (87, 64, 3, 50, 50)],
)
def test_training_step_memory_matches_formula(
    cell: str, vocab: int, hidden: int, layers: int, steps: int, batch: int
) -> None:
    architecture = RNNConfig(vocab, hidden, cell, layers)
    ratio = peak_of_a_step(architecture, steps, batch) / training_bytes(architecture, steps, batch)
    assert 1 <= ratio <= 1.16  # small arrays are not in the formula
