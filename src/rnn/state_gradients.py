"""Flow of gradients through time: gradients of the states, and the spectrum of the recurrent matrix.

The gradient is that of one loss, the loss of the last character of a window, with respect to every state
before it. How fast its norm falls or grows with the distance shows vanishing or exploding gradients: Pascanu,
Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".

    dL_T/dh_T     = (softmax(z_T) - onehot(y_T)) wy^T    in the last layer, else 0
    dL_T/dh_{t-1} = the part that comes from step t, by the cell (its `backward_step`)
                  + sum over the gates of the layer above of dL_T/da_{t-1} wx^T

The derivations are those of the backward passes of the cells, but one time step at a time, and every
dL_T/dh_t is stored, while the backward passes overwrite it. The tests compare them with complex-step
differentiation.

The spectrum shows what repeated products with the recurrent matrix do to a state. In a linear network
gradients vanish in time if the spectral radius is below 1, and can explode only if it is above 1. The slopes
of tanh are at most 1 and shrink the gradients further, so that with tanh they may vanish above 1, too
(section 2.1 of the same paper).
"""

from math import exp, log

import numpy as np

from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, Ids, forward
from src.rnn.parameters import Array, Parameters

SQUARINGS = 12


def state_gradients(p: Parameters, ids: Ids, targets: Ids, buffers: Buffers) -> Array:
    """Compute the gradient of the loss of the last character with respect to every state of a window.

    The equations are those of the module. Each column of the batch has its own loss, in nats.

    Args:
        p: Parameters of the network.
        ids: Token ids of the windows, int64, shape (T, B).
        targets: Ids of the characters after the windows, int64, shape (B,).
        buffers: Buffers for (T, B). Their state is the initial state of the windows. Afterwards they contain
            what `forward` wrote, except for the logits, which are overwritten.

    Returns:
        dL_T/d(state after step t) of every layer and time step, shape (L, S, T, B, H); S = 2 for the LSTM,
            else 1.
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
    """Compute the mean norm of the gradient by its distance k from the end of the window.

        mean over the batch of ||dL_T/d(state at T - k)||        k = 0, ..., T - 1

    Args:
        gradients: Result of `state_gradients`, shape (L, S, T, B, H).

    Returns:
        Mean norms, float64, shape (L, S, T), with k on the last axis.
    """
    norms: Array = np.sqrt(np.einsum("lstbh,lstbh->lstb", gradients, gradients, dtype=np.float64))
    by_distance: Array = norms.mean(axis=-1)[..., ::-1]
    return by_distance


def recurrent_matrices(p: Parameters) -> list[Array]:
    """Return for each layer the recurrent matrix whose spectrum is measured.

    In a gated cell it is the block of the candidate, the last gate. Only this block is inside the tanh, as
    the matrix of the vanilla RNN is; the other gates only scale, by numbers from 0 to 1.

    Args:
        p: Parameters of the network.

    Returns:
        Views of wh, shape (H, H), one per layer.
    """
    return [layer.wh[-1] for layer in p.layers]


def spectral_radius(w: Array) -> float:
    """Compute an upper bound of max |eigenvalue|, close to it, by repeated squaring.

        ||w^m||^(1/m)        m = 2^12        (Gelfand 1941, with the Frobenius norm)

    This takes a dozen products, at 128 units a fifth of the time of the eigenvalues themselves. A complex
    pair of eigenvalues, with which the power iteration fails, causes no problem. The bound is too large by a
    factor k^(1/m), where k grows with the distance of w from a normal matrix: 0.2% at k = 4,000. The power is
    scaled to norm 1 after each product.

    Args:
        w: Square matrix, shape (H, H).

    Returns:
        The bound; nan or inf if w is not finite.
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
    """Compute the singular values of a matrix: how much a product with it can stretch a state.

    Args:
        w: Square matrix, shape (H, H).

    Returns:
        Singular values, shape (H,), the largest first.
    """
    values: Array = np.linalg.svd(w, compute_uv=False)
    return values
