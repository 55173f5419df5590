"""The network as pure functions over data: ids in, logits, loss and gradients out.

    a_t = wx[x_t] + h_{t-1} wh + b        h_t = tanh(a_t)        logits_t = h_t wy + by

T time steps, B sequences in a batch, H hidden units, V vocabulary; arrays are time-major. A one-hot
vector times `wx` is a row of `wx`, so the input layer is a look-up and needs no one-hot vectors.
"""

from dataclasses import dataclass

import numpy as np

from src.rnn import cells
from src.rnn.loss import columns, cross_entropy_and_gradient
from src.rnn.parameters import Architecture, Array, Parameters


@dataclass(frozen=True)
class Buffers:
    """Everything that one training step writes, allocated once for a shape (T, B).

    h (T+1, B, H): hidden states. xw (T, B, H): the input's contribution, later scratch. z (V, T*B):
    logits, later their gradient. dh (T, B, H): gradient at the hidden states. onehot (V, T*B).
    table (V, H): wx + b.
    """

    h: Array
    xw: Array
    z: Array
    dh: Array
    onehot: Array
    table: Array

    @classmethod
    def allocate(cls, architecture: Architecture, steps: int, batch: int, dtype: type) -> "Buffers":
        t, b, h, v = steps, batch, architecture.hidden, architecture.vocab
        return cls(
            h=np.zeros((t + 1, b, h), dtype),
            xw=np.empty((t, b, h), dtype),
            z=np.empty((v, t * b), dtype),
            dh=np.empty((t, b, h), dtype),
            onehot=np.zeros((v, t * b), dtype),
            table=np.empty((v, h), dtype),
        )


def hidden_states(p: Parameters, ids: Array, buffers: Buffers) -> Array:
    """h (T+1, B, H) for ids (T, B), from the state that stands in buffers.h[0]."""
    np.add(p.wx, p.b, out=buffers.table)
    np.take(buffers.table, ids, axis=0, out=buffers.xw, mode="clip")  # clip: no checked copy
    cells.forward(buffers.xw, p.wh, buffers.h)
    return buffers.h


def logits(p: Parameters, h: Array, out: Array | None = None) -> Array:
    """(V, T*B) logits of hidden states h (T, B, H): one product over all time steps."""
    z = np.matmul(p.wy.T, h.reshape(-1, h.shape[-1]).T, out=out)
    z += p.by[:, None]
    return z


def loss_and_gradient(p: Parameters, g: Parameters, ids: Array, targets: Array, buffers: Buffers) -> Array:
    """The mean loss in nats per character of one batch; its gradient is written into `g`.

    ids, targets (T, B). buffers.h[0] is the initial state, taken as a constant.
    """
    h = hidden_states(p, ids, buffers)
    z = logits(p, h[1:], out=buffers.z)
    loss = cross_entropy_and_gradient(z, targets.reshape(-1))
    backward(p, g, ids, buffers)
    return loss


def backward(p: Parameters, g: Parameters, ids: Array, buffers: Buffers) -> None:
    """Gradients into `g`, given dL/dlogits in buffers.z and the hidden states in buffers.h."""
    units = buffers.h.shape[-1]
    dz, da = buffers.z, buffers.dh.reshape(-1, units)
    np.matmul(buffers.h[1:].reshape(-1, units).T, dz.T, out=g.wy)
    dz.sum(axis=1, out=g.by)
    np.matmul(dz.T, p.wy.T, out=da)
    cells.backward(buffers.dh, p.wh, buffers.h, slope=buffers.xw)
    np.matmul(buffers.h[:-1].reshape(-1, units).T, da, out=g.wh)
    # Adding up the rows of `da` by character is a product with a one-hot matrix. Here, and only here,
    # writing the matrix down (no larger than the logits) beats a scatter-add, by ten times.
    buffers.onehot[:] = 0
    buffers.onehot[ids.reshape(-1), columns(ids.size)] = 1
    np.matmul(buffers.onehot, da, out=g.wx)
    g.wx.sum(axis=0, out=g.b)  # every step looks up one row of wx, and adds b once
