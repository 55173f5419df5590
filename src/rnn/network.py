"""The network as pure functions over data: ids in, logits, loss and gradients out.

    a_t = wx[x_t] + h_{t-1} wh + b        h_t = tanh(a_t)        logits_t = h_t wy + by

T time steps, B sequences in a batch, H hidden units, V vocabulary; arrays are time-major. A one-hot
vector times `wx` is a row of `wx`, so the input layer is a look-up and needs no one-hot vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.rnn import cells
from src.rnn.loss import columns, cross_entropy_and_gradient
from src.rnn.parameters import Architecture, Array, Parameters

Ids = NDArray[np.intp]


@dataclass(frozen=True)
class ForwardBuffers:
    """What a forward pass over (T, B) writes, allocated once.

    h (T+1, B, H): hidden states, h[0] the initial one. xw (T, B, H): wx[x_t] + b. z (V, T*B): logits.
    table (V, H): wx + b.
    """

    h: Array
    xw: Array
    z: Array
    table: Array

    @classmethod
    def allocate(
        cls, architecture: Architecture, steps: int, batch: int, dtype: Any = np.float32
    ) -> "ForwardBuffers":
        h, v = architecture.hidden, architecture.vocab
        return cls(
            h=np.zeros((steps + 1, batch, h), dtype),
            xw=np.empty((steps, batch, h), dtype),
            z=np.empty((v, steps * batch), dtype),
            table=np.empty((v, h), dtype),
        )


@dataclass(frozen=True)
class BackwardBuffers:
    """What the backward pass writes besides the gradients.

    dh (T, B, H): dL/dh_t, then dL/da_t. slope (T, B, H): tanh'(a_t). onehot (V, T*B).
    """

    dh: Array
    slope: Array
    onehot: Array

    @classmethod
    def allocate(
        cls, architecture: Architecture, steps: int, batch: int, dtype: Any = np.float32
    ) -> "BackwardBuffers":
        h, v = architecture.hidden, architecture.vocab
        return cls(
            dh=np.empty((steps, batch, h), dtype),
            slope=np.empty((steps, batch, h), dtype),
            onehot=np.zeros((v, steps * batch), dtype),
        )


def forward(p: Parameters, ids: Ids, buffers: ForwardBuffers) -> Array:
    """Logits (V, T*B) of ids (T, B), from the state that stands in buffers.h[0].

    Leaves the hidden states in buffers.h; h[T], the last, is what a following piece begins with.
    """
    np.add(p.wx, p.b, out=buffers.table)
    np.take(buffers.table, ids, axis=0, out=buffers.xw, mode="clip")  # clip: writes to out unbuffered
    cells.forward(buffers.xw, p.wh, buffers.h)
    units = buffers.h.shape[-1]
    np.matmul(p.wy.T, buffers.h[1:].reshape(-1, units).T, out=buffers.z)  # all time steps in one product
    np.add(buffers.z, p.by[:, None], out=buffers.z)
    return buffers.z


def backward(p: Parameters, g: Parameters, ids: Ids, made: ForwardBuffers, buffers: BackwardBuffers) -> None:
    """Write the gradient into `g`, given dL/dlogits in made.z and the hidden states in made.h."""
    units = made.h.shape[-1]
    dz, da = made.z, buffers.dh.reshape(-1, units)
    np.matmul(made.h[1:].reshape(-1, units).T, dz.T, out=g.wy)
    dz.sum(axis=1, out=g.by)
    np.matmul(dz.T, p.wy.T, out=da)
    cells.backward(buffers.dh, p.wh, made.h, buffers.slope)
    np.matmul(made.h[:-1].reshape(-1, units).T, da, out=g.wh)
    # Adding up the rows of `da` by character is a product with a one-hot matrix. Here, and only here,
    # writing that matrix down (no larger than the logits) pays: a scatter-add takes ten times as long.
    buffers.onehot[:] = 0
    buffers.onehot[ids.reshape(-1), columns(ids.size)] = 1
    np.matmul(buffers.onehot, da, out=g.wx)
    g.wx.sum(axis=0, out=g.b)  # every step looks up one row of wx and adds b once


def loss_and_gradient(
    p: Parameters,
    g: Parameters,
    ids: Ids,
    targets: Ids,
    forward_buffers: ForwardBuffers,
    backward_buffers: BackwardBuffers,
) -> float:
    """The mean loss of a batch in nats per character; its gradient is written into `g`.

    ids, targets (T, B). forward_buffers.h[0] is the initial state, taken as a constant.
    """
    z = forward(p, ids, forward_buffers)
    loss = cross_entropy_and_gradient(z, targets.reshape(-1))
    backward(p, g, ids, forward_buffers, backward_buffers)
    return float(loss)
