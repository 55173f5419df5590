"""The recurrent matrix's spectrum: what a product with it does to a state, again and again.

A spectral radius below 1 is enough for the gradients of a tanh network to vanish (the slope is at most 1), one
above 1 is needed for them to explode: Pascanu, Mikolov and Bengio (2013), section 2.1.
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

    Some dozen products, at 128 units a tenth of the time of the eigenvalues themselves, and unlike in the power
    iteration a complex pair does not matter. Too large by the factor k^(1/m), k growing with how far w is from
    normal: 0.2% at k = 4,000. The power is scaled to norm 1 again and again. nan where w is not finite.
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
