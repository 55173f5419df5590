"""How far a float32 computation may be from the exact one: bounds that tests compare against.

u = 2^-24 is the unit roundoff of float32. gamma(n) = n u / (1 - n u) bounds the relative error of a sum of
n products in any order (Higham, "Accuracy and stability of numerical algorithms", section 3.1), so that the
bounds hold for every BLAS kernel, every number of threads and every way to cut a product into pieces.
"""

import numpy as np

from src.rnn.parameters import Architecture, Array, unflatten

UNIT = 2.0**-24
FUNCTION = (
    4 * UNIT
)  # of NumPy's tanh, exp and log in float32: at most 4 units in the last place (NumPy's tests)


def gamma(n: int) -> float:
    return n * UNIT / (1 - n * UNIT)


def contractive(architecture: Architecture, flat: Array, radius: float = 0.9) -> Array:
    """Scale the recurrent matrices (H, H), orthogonal ones, to the spectral norm `radius`, in place.

    With a tanh, whose slope is at most 1, a rounding error then shrinks by that factor at every step,
    whatever the input: the network is not chaotic.
    """
    for layer in unflatten(architecture, flat).layers:
        for wh in layer.wh:
            wh *= radius / np.linalg.norm(wh, 2)
    return flat


def loss_error(architecture: Architecture, flat: Array) -> float:
    """Bound the error in nats of a single prediction of a contractive vanilla RNN with one layer, float32.

    Each step adds e = gamma(H + 2) (|wh| sums + |wx + b|) + the tanh's error to every unit, and the error
    before shrinks by rho = ||wh||_2 < 1: the state is off by at most sqrt(H) e / (1 - rho) in the 2-norm.
    A logit is off by ||wy||_2 of that and its own rounding, the loss by twice a logit and its own.
    """
    p, units = unflatten(architecture, flat.astype(np.float64)), architecture.hidden
    (layer,) = p.layers
    rho = np.linalg.norm(layer.wh[0], 2)
    assert rho < 1, "else errors grow from step to step and no bound holds"
    inputs = abs(layer.wx[0] + layer.b[0]).max()
    step = gamma(units + 2) * (abs(layer.wh[0]).sum(axis=0).max() + inputs) + FUNCTION
    state = np.sqrt(units) * step / (1 - rho)
    sums = (abs(p.wy).sum(axis=0) + abs(p.by)).max()
    logit = np.linalg.norm(p.wy, 2) * state + gamma(units + 1) * sums
    return float(2 * logit + gamma(architecture.vocab + 2) + 3 * FUNCTION * (1 + 2 * sums))
