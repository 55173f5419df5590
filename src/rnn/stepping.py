"""One time step at a time, for sampling: what each step would do again is prepared once.

The same equations as the cells' forward passes, with the gates side by side in one row, so that a step of
a layer is one product with (H, G*H) instead of G products. The tests hold the two together.
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
        halved = cell_of(architecture).halved
        scale = np.ones((architecture.gates, 1, 1), flat.dtype)
        scale[:halved] = 0.5
        self.architecture = architecture
        self.inputs = [side_by_side(layer.wx * scale) for layer in p.layers]
        self.biases = [side_by_side(layer.b[:, None] * scale)[0] for layer in p.layers]
        self.inputs[0] += self.biases[0]  # the first layer's input is a look-up: its bias is added here
        self.recurrent = [side_by_side(layer.wh * scale) for layer in p.layers]
        self.bh = [layer.bh for layer in p.layers]
        self.wy, self.by = p.wy, p.by
        self.state = zero_state(architecture, batch, flat.dtype)
        kind = architecture.activation if architecture.cell == "rnn" else architecture.cell
        self.advance = {"tanh": step_tanh, "relu": step_relu, "gru": step_gru, "lstm": step_lstm}[kind]

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


def step_tanh(x: Array, product: Array, state: Array, bh: Array) -> None:
    np.add(x, product, out=product)
    np.tanh(product, out=state[0])


def step_relu(x: Array, product: Array, state: Array, bh: Array) -> None:
    np.add(x, product, out=product)
    np.maximum(product, 0, out=state[0])


def step_lstm(x: Array, product: Array, state: Array, bh: Array) -> None:
    """Gates o, i, f, g; sigma(a) = (1 + tanh(a / 2)) / 2 with the halves in the weights."""
    (h, c), units = state, state.shape[-1]
    np.add(x, product, out=product)
    np.tanh(product, out=product)
    sigmoids = product[:, : 3 * units]
    sigmoids *= 0.5
    sigmoids += 0.5
    o, i, f = sigmoids[:, :units], sigmoids[:, units : 2 * units], sigmoids[:, 2 * units :]
    c *= f
    i *= product[:, 3 * units :]
    c += i
    np.tanh(c, out=h)
    h *= o


def step_gru(x: Array, product: Array, state: Array, bh: Array) -> None:
    """Gates r, z, n."""
    h, units = state[0], state.shape[-1]
    q = product[:, 2 * units :]
    q += bh
    sigmoids = product[:, : 2 * units]
    sigmoids += x[:, : 2 * units]
    np.tanh(sigmoids, out=sigmoids)
    sigmoids *= 0.5
    sigmoids += 0.5
    q *= sigmoids[:, :units]
    q += x[:, 2 * units :]
    np.tanh(q, out=q)
    h -= q
    h *= sigmoids[:, units:]
    h += q
