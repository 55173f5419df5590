"""The gradient of one loss, that of the last character of a window, with respect to every state before it.

How fast its norm falls or grows with the distance is the vanishing or exploding of gradients: Pascanu,
Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    dL_T/dh_T     = (softmax(z_T) - onehot(y_T)) wy^T    in the last layer, else 0
    dL_T/dh_{t-1} = what comes from step t, by the cell (`back_tanh` and its neighbours)
                  + sum over the gates of the layer above of dL_T/da_{t-1} wx^T

The same derivations as the cells' backward passes, but one time step at a time, and every dL_T/dh_t is kept,
which those overwrite. The tests hold them to complex-step differentiation.
"""

from collections.abc import Callable

import numpy as np

from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, Ids, forward
from src.rnn.parameters import Array, Layer, Parameters
from src.rnn.tape import Tape

# From dL/d(h_t and c_t), (S, B, H), to dL/da of the gates at t, as the inputs see them, (G, B, H), and to
# dL/d(h_{t-1} and c_{t-1}). To dL/dc_t is added, in place, what comes through h_t.
Back = Callable[[Layer, Tape, int, Array], tuple[Array, Array]]


def back_tanh(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """dL/da_t = dL/dh_t (1 - h_t^2)."""
    h = tape.h[t + 1]
    da = d * (1 - h * h)
    return da, da @ p.wh[0].T


def back_relu(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """dL/da_t = dL/dh_t where h_t > 0, else 0."""
    da = d * (tape.h[t + 1] > 0)
    return da, da @ p.wh[0].T


def back_gru(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """Gates r, z, n; q_t = h_{t-1} wh_n + bh:

    dL/da_z = dL/dh_t (h_{t-1} - n) z (1 - z)      dL/da_n = dL/dh_t (1 - z) (1 - n^2)
    dL/da_r = dL/da_n q r (1 - r)                  dL/dq   = dL/da_n r
    dL/dh_{t-1} = dL/dh_t z + dL/da_r wh_r^T + dL/da_z wh_z^T + dL/dq wh_n^T
    """
    (dh,), (r, z, n, q) = d, tape.blocks[:, t]
    dn = dh * (1 - z) * (1 - n * n)
    da = np.stack([dn * q * r * (1 - r), dh * (tape.h[t] - n) * z * (1 - z), dn])
    before = dh * z + da[0] @ p.wh[0].T + da[1] @ p.wh[1].T + (dn * r) @ p.wh[2].T
    return da, before[None]


def back_lstm(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """Gates o, i, f, g:

    dL/dc_t = dL/dh_t o (1 - tanh^2 c_t) + f_{t+1} dL/dc_{t+1}
    dL/da_o = dL/dh_t tanh(c_t) o (1 - o)          dL/da_i = dL/dc_t g i (1 - i)
    dL/da_f = dL/dc_t c_{t-1} f (1 - f)            dL/da_g = dL/dc_t i (1 - g^2)
    dL/dc_{t-1} = dL/dc_t f + ...                  dL/dh_{t-1} = sum over the gates of dL/da wh^T
    """
    (dh, dc), (o, i, f, g, tanh_c) = d, tape.blocks[:, t]
    dc += dh * o * (1 - tanh_c * tanh_c)
    da = np.stack(
        [dh * tanh_c * o * (1 - o), dc * g * i * (1 - i), dc * tape.c[t] * f * (1 - f), dc * i * (1 - g * g)]
    )
    return da, np.stack([np.matmul(da, p.wh.transpose(0, 2, 1)).sum(axis=0), dc * f])


BACK: dict[tuple[str, str], Back] = {
    ("rnn", "tanh"): back_tanh,
    ("rnn", "relu"): back_relu,
    ("gru", "tanh"): back_gru,
    ("lstm", "tanh"): back_lstm,
}


def state_gradients(p: Parameters, ids: Ids, targets: Ids, buffers: Buffers) -> Array:
    """dL_T/d(state at t) of every layer and step, (L, S, T, B, H): S = 2 for the LSTM's h and c, else 1.

    ids (T, B), targets (B,): the characters behind the last ones. Each column of the batch has its own loss,
    in nats. The state in the buffers is where the windows begin; afterwards they hold what `forward` left,
    but for the logits.
    """
    a, (steps, batch) = buffers.architecture, ids.shape
    back = BACK[a.cell, a.activation]
    dz = np.exp(log_softmax(forward(p, ids, buffers)[:, -batch:]))
    dz[targets, columns(batch)] -= 1
    gradients = np.zeros((a.layers, a.states, steps, batch, a.hidden), dz.dtype)
    gradients[-1, 0, -1] = dz.T @ p.wy.T
    for k in range(a.layers - 1, -1, -1):
        for t in range(steps - 1, -1, -1):
            da, before = back(p.layers[k], buffers.tapes[k], t, gradients[k, :, t])
            if t:
                gradients[k, :, t - 1] += before
            if k:
                gradients[k - 1, 0, t] = np.matmul(da, p.layers[k].wx.transpose(0, 2, 1)).sum(axis=0)
    return gradients


def norm_by_distance(gradients: Array) -> Array:
    """The mean over the batch of ||dL_T/d(state at T - k)||, k = 0, 1, ..., T - 1, in double precision.

    gradients (L, S, T, B, H); returns (L, S, T).
    """
    norms: Array = np.sqrt(np.einsum("lstbh,lstbh->lstb", gradients, gradients, dtype=np.float64))
    by_distance: Array = norms.mean(axis=-1)[..., ::-1]
    return by_distance
