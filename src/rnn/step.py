"""Single time steps for sampling: computations that every step would repeat are done once, in advance.

The gates are concatenated in one row, so that a step of a layer needs one product with a matrix (H, G H)
instead of G products; the rest is the `step` function of the cell. The tests compare the results with the
forward passes of the cells.
"""

import numpy as np

from src.rnn.network import Ids, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten


class Stepper:
    """A network that reads one character of each of B streams per call, for sampling.

    Args:
        architecture: Sizes of the network.
        params: Flat vector of the parameters, shape (n,). The weights of the recurrent layers are copied.
        batch: Number of streams B.

    Attributes:
        state: State of each layer, shape (L, S, B, H), zero at first. A caller may set it between two steps.
    """

    def __init__(self, architecture: RNNConfig, params: Array, batch: int) -> None:
        p = unflatten(architecture, params)
        scale = np.ones((architecture.gates, 1, 1), params.dtype)
        scale[: architecture.spec.n_sigmoid] = 0.5
        self.inputs = [np.concatenate(layer.wx * scale, axis=-1) for layer in p.layers]
        self.biases = [(layer.b * scale[:, 0]).ravel() for layer in p.layers]
        self.inputs[0] += self.biases[0]  # the first layer takes rows of this table: the bias is added once
        self.recurrent = [np.concatenate(layer.wh * scale, axis=-1) for layer in p.layers]
        self.bh = [layer.bh for layer in p.layers]
        self.wy, self.by = p.wy, p.by
        self.state = zero_state(architecture, batch, params.dtype)
        self.cell_step = architecture.spec.step

    def step(self, ids: Ids) -> Array:
        """Read one character of each stream and compute the logits of the next one.

        Args:
            ids: Token ids, int64, shape (B,).

        Returns:
            Logits, shape (B, V), of the dtype of the parameters.
        """
        x: Array = self.inputs[0].take(ids, axis=0)
        for k, state in enumerate(self.state):
            if k:
                x = self.state[k - 1, 0].dot(self.inputs[k])
                x += self.biases[k]
            self.cell_step(x, state[0].dot(self.recurrent[k]), state, self.bh[k])
        logits: Array = self.state[-1, 0].dot(self.wy)
        logits += self.by
        return logits
