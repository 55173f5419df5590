"""The gradient of one loss, that of the last character of a window, with respect to every state before it.

How fast its norm falls or grows with the distance is the vanishing or exploding of gradients: Pascanu,
Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    dL_T/dh_T     = (softmax(z_T) - onehot(y_T)) wy^T    in the last layer, else 0
    dL_T/dh_{t-1} = what comes from step t, by the cell (its `backward_step`)
                  + sum over the gates of the layer above of dL_T/da_{t-1} wx^T

The same derivations as the cells' backward passes, but one time step at a time, and every dL_T/dh_t is kept,
which those overwrite. The tests hold them to complex-step differentiation.
"""

import numpy as np

from src.rnn.cells import get_cell
from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, Ids, forward
from src.rnn.parameters import Array, Parameters


def state_gradients(p: Parameters, ids: Ids, targets: Ids, buffers: Buffers) -> Array:
    """dL_T/d(state at t) of every layer and step, (L, S, T, B, H): S = 2 for the LSTM's h and c, else 1.

    ids (T, B), targets (B,): the characters behind the last ones. Each column of the batch has its own loss,
    in nats. The state in the buffers is where the windows begin; afterwards they hold what `forward` left,
    but for the logits.
    """
    a, (steps, batch) = buffers.architecture, ids.shape
    backward_step = get_cell(a).backward_step
    dz = np.exp(log_softmax(forward(p, ids, buffers)[:, -batch:]))
    dz[targets, columns(batch)] -= 1
    gradients = np.zeros((a.layers, a.states, steps, batch, a.hidden), dz.dtype)
    gradients[-1, 0, -1] = dz.T @ p.wy.T
    for k in range(a.layers - 1, -1, -1):
        for t in range(steps - 1, -1, -1):
            da, before = backward_step(p.layers[k], buffers.caches[k], t, gradients[k, :, t])
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
