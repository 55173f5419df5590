"""One time step at a time, for sampling: what each step would do again is prepared once.

The gates stand side by side in one row, so that a step of a layer is one product with (H, G*H) instead of G
products; the rest of it is the cell's `step`. The tests hold it to the cells' forward passes.
"""

import numpy as np

from src.rnn.cells import cell_of
from src.rnn.network import Ids, zero_state
from src.rnn.parameters import Architecture, Array, unflatten


class Stepper:
    """Reads ids (B,), a character of each of B streams, and gives the logits (B, V) of the next ones.

    state (L, S, B, H) may be set between steps.
    """

    def __init__(self, architecture: Architecture, flat: Array, batch: int) -> None:
        p = unflatten(architecture, flat)
        scale = np.ones((architecture.gates, 1, 1), flat.dtype)
        scale[: architecture.kind.sigmoids] = 0.5
        self.inputs = [side_by_side(layer.wx * scale) for layer in p.layers]
        self.biases = [side_by_side(layer.b[:, None] * scale)[0] for layer in p.layers]
        self.inputs[0] += self.biases[0]  # the first layer's input is a look-up: its bias is added here
        self.recurrent = [side_by_side(layer.wh * scale) for layer in p.layers]
        self.bh = [layer.bh for layer in p.layers]
        self.wy, self.by = p.wy, p.by
        self.state = zero_state(architecture, batch, flat.dtype)
        self.advance = cell_of(architecture).step

    def step(self, ids: Ids) -> Array:
        x: Array = self.inputs[0].take(ids, axis=0)
        for k, state in enumerate(self.state):
            if k:
                x = self.state[k - 1, 0].dot(self.inputs[k])
                x += self.biases[k]
            self.advance(x, state[0].dot(self.recurrent[k]), state, self.bh[k])
        logits: Array = self.state[-1, 0].dot(self.wy)
        logits += self.by
        return logits


def side_by_side(gates: Array) -> Array:
    """(G, D, H) as (D, G*H)."""
    return np.ascontiguousarray(gates.transpose(1, 0, 2)).reshape(gates.shape[1], -1)
