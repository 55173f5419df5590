"""Error bounds of float32 computations.

u is the unit roundoff, 2^-24 of float32 and 2^-53 of float64. gamma(n) = n u / (1 - n u) bounds the relative
error of a sum of n products in any order (Higham, "Accuracy and stability of numerical algorithms", section
3.1). So the bounds hold for every BLAS kernel, number of threads and blocking. network_error.py bounds a
whole pass of a network.
"""

import numpy as np

from src.rnn.parameters import Array, RNNConfig, unflatten

UNIT, DOUBLE = 2.0**-24, 2.0**-53  # the unit roundoffs of float32 and float64
# NumPy's tanh, exp and log have errors of at most 4 units in the last place (NumPy's tests): each u of a
# number below 1, and up to 2 u relative to a number.
FUNCTION = 4
# The error of a complex product is at most sqrt(2) gamma(2) (Higham, lemma 3.5), 2 sqrt(2) times that of
# a real product. The same holds for a complex-step derivative. COMPLEX also includes the real
# derivative that it is compared with.
COMPLEX = 1 + 2 * 2**0.5


def gamma(n: int, unit: float = UNIT) -> float:
    """Bound the relative error of n roundings."""
    return n * unit / (1 - n * unit)


def contractive(architecture: RNNConfig, flat: Array, radius: float | None = None) -> Array:
    """Scale the matrices (H, H), recurrent ones and those between layers, in place.

    radius is their spectral norm, by default 0.9, with gates 0.3. With a tanh, whose slope is at most 1, a
    rounding error shrinks by that factor at every step: the network is not chaotic. In a gated cell several
    paths connect two states; `network_error` bounds all of them.
    """
    radius = radius or (0.9 if architecture.gates == 1 else 0.3)
    for k, layer in enumerate(unflatten(architecture, flat).layers):
        for matrix in (*layer.wh, *(layer.wx if k else ())):
            matrix *= radius / np.linalg.norm(matrix, 2)
    return flat


def loss_error(architecture: RNNConfig, flat: Array, unit: float = UNIT) -> float:
    """Bound the error in nats of a single prediction of a contractive vanilla RNN with one layer.

    Each step adds e = gamma(H + 2) (|wh| sums + |wx + b|) + the tanh's error to every unit, and the previous
    error shrinks by rho = ||wh||_2 < 1: the error of the state is at most sqrt(H) e / (1 - rho) in the
    2-norm. A logit has ||wy||_2 times that and its own rounding, the loss twice the error of a logit and its
    own.
    """
    p, units = unflatten(architecture, flat.astype(np.float64)), architecture.hidden
    (layer,) = p.layers
    rho = np.linalg.norm(layer.wh[0], 2)
    assert rho < 1, "errors grow from step to step"
    inputs = abs(layer.wx[0] + layer.b[0]).max()
    step = gamma(units + 2, unit) * (abs(layer.wh[0]).sum(axis=0).max() + inputs) + FUNCTION * unit
    state = np.sqrt(units) * step / (1 - rho)
    sums = (abs(p.wy).sum(axis=0) + abs(p.by)).max()
    logit = np.linalg.norm(p.wy, 2) * state + gamma(units + 1, unit) * sums
    own = gamma(architecture.vocab + 2, unit) + 3 * FUNCTION * unit * (1 + 2 * sums)
    return float(2 * logit + own)


def softmax_error(vocab: int, unit: float = UNIT) -> float:
    """Bound the sum of the errors of the probabilities of one prediction for given logits.

    Two exp and a log, the sum of V numbers, and the roundings of z - max and log p, which are at most log V
    each when weighted by p.
    """
    return gamma(vocab + 3 * 2 * FUNCTION + 2 * int(np.ceil(np.log(vocab))) + 4, unit)


def radius_error(units: int, unit: float = UNIT) -> float:
    """Bound the relative error of `spectral_radius` of a multiple of an orthogonal matrix (H, H).

    Its m-th power, m = 2^12, has the Frobenius norm sqrt(H) radius^m; the result is the m-th root. The square
    of such a matrix has an error of sqrt(H) gamma(H) of its norm. The 2^k-th root is taken of the k-th
    square, so with the scaling the errors sum to less than 2 sqrt(H) gamma(H + 2). Norm, log and exp are in
    float64.
    """
    norms: float = units ** (0.5 / 2**12) - 1
    return norms + 2 * float(np.sqrt(units)) * gamma(units + 2, unit) + 4 * FUNCTION * DOUBLE
