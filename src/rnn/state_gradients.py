"""Flow of gradients through time: gradients with respect to the states, and the recurrent matrix's spectrum.

The gradient of one loss, that of the last character of a window, with respect to every state before it.

How fast its norm falls or grows with the distance is the vanishing or exploding of gradients: Pascanu,
Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    dL_T/dh_T     = (softmax(z_T) - onehot(y_T)) wy^T    in the last layer, else 0
    dL_T/dh_{t-1} = what comes from step t, by the cell (its `backward_step`)
                  + sum over the gates of the layer above of dL_T/da_{t-1} wx^T

The same derivations as the cells' backward passes, but one time step at a time, and every dL_T/dh_t is
stored, which those overwrite. The tests hold them to complex-step differentiation.

The spectrum says what a product with the recurrent matrix does to a state, again and again. In a linear
network gradients vanish in time when the spectral radius is below 1, and can explode only when it is above 1.
The slopes of a tanh, at most 1, shrink them further, so that there they may vanish above 1, too: section 2.1
of the same paper.
"""

from math import exp, log

import numpy as np

from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, Ids, forward
from src.rnn.parameters import Array, Parameters

SQUARINGS = 12


def state_gradients(p: Parameters, ids: Ids, targets: Ids, buffers: Buffers) -> Array:
    """Return dL_T/d(state at t) of every layer and step (L, S, T, B, H); S = 2 for the LSTM, else 1.

    ids (T, B), targets (B,): the characters after the last ones. Each column of the batch has its own loss,
    in nats. The state in the buffers is where the windows begin; afterwards they hold what `forward` left,
    but for the logits.
    """
    a, (steps, batch) = buffers.architecture, ids.shape
    backward_step = a.spec.backward_step
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
    """Return the mean over the batch of ||dL_T/d(state at T - k)||, k = 0, ..., T - 1, in double precision.

    gradients (L, S, T, B, H); returns (L, S, T).
    """
    norms: Array = np.sqrt(np.einsum("lstbh,lstbh->lstb", gradients, gradients, dtype=np.float64))
    by_distance: Array = norms.mean(axis=-1)[..., ::-1]
    return by_distance


def recurrent_matrices(p: Parameters) -> list[Array]:
    """Return one wh (H, H) per layer.

    Of a gated cell it is the block of the candidate, the last gate: it alone is inside the tanh, as that of
    the vanilla RNN is; the others only scale, by numbers from 0 to 1.
    """
    return [layer.wh[-1] for layer in p.layers]


def spectral_radius(w: Array) -> float:
    """Return max |eigenvalue| of w (H, H), from above: ||w^m||^(1/m), m = 2^12 (Gelfand, Frobenius norm).

    A dozen products, at 128 units a fifth of the time of the eigenvalues themselves. A complex pair, over
    which the power iteration stumbles, does no harm. Too large by the factor k^(1/m), where k grows with how
    far w is from normal: 0.2% at k = 4,000. The power is scaled to norm 1 again and again. nan or inf where w
    is not finite.
    """
    largest = abs(w).max()
    if largest == 0:
        return 0.0
    power, log_norm = w / largest, log(largest)  # w^m = power * exp(log_norm)
    for k in range(SQUARINGS + 1):
        if k:
            power, log_norm = power @ power, 2 * log_norm
        norm = float(np.linalg.norm(power))
        if norm == 0:
            return 0.0
        power = power / w.dtype.type(norm)
        log_norm += log(norm)
    return exp(log_norm / 2**SQUARINGS)


def singular_values(w: Array) -> Array:
    """Return the singular values (H,) of w (H, H), largest first: how far a product can stretch a state."""
    values: Array = np.linalg.svd(w, compute_uv=False)
    return values
