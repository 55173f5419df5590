"""One time step at a time, for sampling: what each step would do again is prepared once.

The gates stand side by side in one row, so that a step of a layer is one product with (H, G*H) instead of G
products; the rest of it is the cell's `step`. The tests hold it to the cells' forward passes.
"""

import numpy as np

from src.rnn.network import Ids, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten


class Stepper:
    """Reads ids (B,), a character of each of B streams, and gives the logits (B, V) of the next ones.

    state (L, S, B, H) may be set between steps.
    """

    def __init__(self, architecture: RNNConfig, params: Array, batch: int) -> None:
        p = unflatten(architecture, params)
        scale = np.ones((architecture.gates, 1, 1), params.dtype)
        scale[: architecture.spec.n_sigmoid] = 0.5
        self.inputs = [concat_gates(layer.wx * scale) for layer in p.layers]
        self.biases = [concat_gates(layer.b[:, None] * scale)[0] for layer in p.layers]
        self.inputs[0] += self.biases[0]  # the first layer's input is a look-up: its bias is added here
        self.recurrent = [concat_gates(layer.wh * scale) for layer in p.layers]
        self.bh = [layer.bh for layer in p.layers]
        self.wy, self.by = p.wy, p.by
        self.state = zero_state(architecture, batch, params.dtype)
        self.cell_step = architecture.spec.step

    def step(self, ids: Ids) -> Array:
        x: Array = self.inputs[0].take(ids, axis=0)
        for k, state in enumerate(self.state):
            if k:
                x = self.state[k - 1, 0].dot(self.inputs[k])
                x += self.biases[k]
            self.cell_step(x, state[0].dot(self.recurrent[k]), state, self.bh[k])
        logits: Array = self.state[-1, 0].dot(self.wy)
        logits += self.by
        return logits


def concat_gates(gates: Array) -> Array:
    """(G, D, H) as (D, G*H)."""
    return np.ascontiguousarray(gates.transpose(1, 0, 2)).reshape(gates.shape[1], -1)
