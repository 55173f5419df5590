"""The memory formula by hand. (What NumPy really allocates stands in test_memory.py.)"""

import pytest

from src.rnn.parameters import RNNConfig
from tests.rnn.memory_estimate import activation_bytes, training_bytes, weight_bytes


@pytest.mark.parametrize(
    ("cell", "activations", "weights"),
    [
        # L T B H (G + S + 1) + L T B H + 2 T B V        6 n + G H^2 + 9 G V H
        ("rnn", 84 * 3 + 84 + 140, 6 * (3 * (5 + 9) + 6 + 20) + 9 + 135),
        ("gru", 84 * 5 + 84 + 140, 6 * (9 * (5 + 9) + 18 + 6 + 20) + 27 + 405),
        ("lstm", 84 * 7 + 84 + 140, 6 * (12 * (5 + 9) + 24 + 20) + 36 + 540),
    ],
)
def test_memory_of_a_small_network_by_hand(cell: str, activations: int, weights: int) -> None:
    """V = 5, H = 3, L = 2, T = 7, B = 2; four bytes a number."""
    architecture = RNNConfig(5, 3, cell, 2)
    assert activation_bytes(architecture, 7, 2) == 4 * activations
    assert weight_bytes(architecture) == 4 * weights
    assert training_bytes(architecture, 7, 2) == 4 * (activations + weights)


def test_activations_grow_linearly_with_steps_batch_and_layers() -> None:
    one = activation_bytes(RNNConfig(27, 64, "lstm"), 20, 10)
    assert activation_bytes(RNNConfig(27, 64, "lstm"), 40, 10) == 2 * one
    assert activation_bytes(RNNConfig(27, 64, "lstm"), 20, 30) == 3 * one
    of_layers = [activation_bytes(RNNConfig(27, 64, "lstm", n), 20, 10) for n in (1, 2, 3)]
    assert of_layers[2] - of_layers[1] == of_layers[1] - of_layers[0]
