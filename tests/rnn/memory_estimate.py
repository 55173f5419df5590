"""How much memory a training step needs, as a formula in T, B, H, L and V.

With G gates and S carried states a layer (rnn 1 and 1, gru 3 and 1, lstm 4 and 2), in numbers of 4 bytes:

    activations   L T B H (G + S + 1)    gates, states, and one array that the cell keeps
                  + L T B H              what passes between layers: the gradient, and dropped outputs
                  + 2 T B V              logits, and the one-hot matrix of the look-up's gradient
    weights       6 n + G H^2            n parameters: weights, gradient, Adam's two, average, best;
                                         the copy of wh that the loops multiply by
                  + 9 G V H              partial sums of the gradient of the look-up

n = (V + (2 L - 1) H) G H + L G H + (H + 1) V, up to the GRU's second bias. Linear in T, B and L. Measured to
hold within 20% (tests/rnn/test_memory_estimate.py). With W workers the activations are shared out among the processes,
and each holds a gradient of its own: (W - 1) n more. With on_divergence=rollback the last good weights are
kept, with what the optimizer and the averaging knew then: 4 n more.
"""

from src.rnn.parameters import RNNConfig

NUMBER = 4  # bytes of a float32


def activation_bytes(architecture: RNNConfig, steps: int, batch: int) -> int:
    """Bytes of what a forward and a backward pass over (T, B) = (steps, batch) write."""
    a = architecture
    window = a.layers * steps * batch * a.hidden
    return NUMBER * (window * (a.gates + a.states + 1) + window + 2 * steps * batch * a.vocab)


def weight_bytes(architecture: RNNConfig) -> int:
    """Bytes of the weights, their gradient, what Adam and the averaging keep, and of what is made of them."""
    a = architecture
    return NUMBER * (6 * a.size() + a.gates * a.hidden**2 + 9 * a.gates * a.vocab * a.hidden)


def training_bytes(architecture: RNNConfig, steps: int, batch: int) -> int:
    """Bytes of a whole training step in one process."""
    return activation_bytes(architecture, steps, batch) + weight_bytes(architecture)
