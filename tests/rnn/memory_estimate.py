"""Formula for the memory of a training step in T, B, H, L and V.

With G gates and S carried states per layer (rnn 1 and 1, gru 3 and 1, lstm 4 and 2), in numbers of 4 bytes:

    activations   L T B H (G + S + 1)    gates, states, and one more array of the cell
                  + L T B H              between layers: gradients, and outputs after dropout
                  + 2 T B V              logits, and one-hot inputs for the embedding's gradient
    weights       6 n + G H^2            n parameters: weights, gradient, Adam's two, average, best;
                                         a copy of wh
                  + 9 G V H              partial sums of the gradient of the embedding

n = (V + (2 L - 1) H) G H + L G H + (H + 1) V, up to the GRU's second bias. The formula is linear in T, B and
L, and within 20% of the measured memory (tests/rnn/test_memory_estimate.py). With W workers the activations
are shared among the processes, and each has its own gradient: (W - 1) n more. With on_divergence=rollback the
last good weights, optimizer state and averages are stored: 4 n more.
"""

from src.rnn.parameters import RNNConfig

NUMBER = 4  # bytes of a float32


def training_bytes(architecture: RNNConfig, steps: int, batch: int) -> int:
    """Return the bytes of a training step over (T, B) = (steps, batch) in one process."""
    a = architecture
    window = a.layers * steps * batch * a.hidden
    activations = window * (a.gates + a.states + 1) + window + 2 * steps * batch * a.vocab
    weights = 6 * a.size() + a.gates * a.hidden**2 + 9 * a.gates * a.vocab * a.hidden
    return NUMBER * (activations + weights)
