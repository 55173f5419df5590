"""The recurrent matrix's spectrum: what a product with it does to a state, again and again.

In a linear network gradients vanish in time when the spectral radius is below 1, and can explode only when it
is above 1. The slopes of a tanh, at most 1, shrink them further, so that there they may vanish above 1, too:
Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks", section 2.1.
"""

from math import exp, log

import numpy as np

from src.rnn.parameters import Array, Parameters

SQUARINGS = 12


def recurrent_matrices(p: Parameters) -> list[Array]:
    """One wh (H, H) a layer. Of a gated cell it is the candidate's block, the last gate's of both: it alone
    stands where the vanilla RNN's stands, inside the tanh; the others only scale, by numbers from 0 to 1."""
    return [layer.wh[-1] for layer in p.layers]


def spectral_radius(w: Array) -> float:
    """max |eigenvalue| of w (H, H), from above: ||w^m||^(1/m), m = 2^12 (Gelfand's formula, Frobenius norm).

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
    """Of w (H, H), largest first, (H,): by how much a product with w can stretch a state."""
    values: Array = np.linalg.svd(w, compute_uv=False)
    return values
