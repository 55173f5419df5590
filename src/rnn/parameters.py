"""The parameters of a network: what there is, its shapes, and one flat vector that holds it all.

Every parameter is a view into one vector, and every gradient a view into another of the same layout,
so the global norm, the clipping and the optimiser are each a handful of calls on one array.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 or float64, and complex128 in the complex-step gradient check


@dataclass(frozen=True)
class Architecture:
    """The sizes that fix every shape.

    vocab: V, distinct characters. hidden: H, units of the hidden state.
    """

    vocab: int
    hidden: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, in the order in which the flat vector holds them."""
        v, h = self.vocab, self.hidden
        return {"wx": (v, h), "wh": (h, h), "b": (h,), "wy": (h, v), "by": (v,)}

    def size(self) -> int:
        """Number of parameters."""
        return sum(prod(shape) for shape in self.shapes().values())


class Parameters(NamedTuple):
    """The vanilla RNN's parameters (or their gradients), each a view.

    wx (V, H): input to hidden, a row for each character. wh (H, H): hidden to hidden. b (H,).
    wy (H, V): hidden to logits. by (V,).
    """

    wx: Array
    wh: Array
    b: Array
    wy: Array
    by: Array


def unflatten(architecture: Architecture, flat: Array) -> Parameters:
    """Views of `flat`, shape (architecture.size(),): writing to one writes to the other.

    Raises ValueError when `flat` has another size.
    """
    if flat.shape != (architecture.size(),):
        raise ValueError(f"expected a vector of {architecture.size()} parameters, got shape {flat.shape}")
    views, start = [], 0
    for shape in architecture.shapes().values():
        stop = start + prod(shape)
        views.append(flat[start:stop].reshape(shape))
        start = stop
    return Parameters(*views)


def initialise(
    architecture: Architecture, scheme: str, rng: np.random.Generator, dtype: Any = np.float32
) -> Array:
    """A fresh flat vector of parameters.

    `uniform`: every weight from U(-1/sqrt(H), 1/sqrt(H)), as torch.nn.RNN does, biases zero.
    `orthogonal`: the same, but `wh` a random orthogonal matrix, which keeps the length of the hidden
    state and of the gradient that flows back through it (Saxe, McClelland and Ganguli 2014,
    "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks").

    Raises ValueError for another scheme.
    """
    if scheme not in ("uniform", "orthogonal"):
        raise ValueError(f"expected the initialisation uniform or orthogonal, got {scheme!r}")
    h = architecture.hidden
    bound = 1.0 / np.sqrt(h)
    flat = rng.uniform(-bound, bound, architecture.size())
    p = unflatten(architecture, flat)
    p.b[:] = 0.0
    p.by[:] = 0.0
    if scheme == "orthogonal":
        q, r = np.linalg.qr(rng.standard_normal((h, h)))
        p.wh[:] = q * np.sign(np.diag(r))  # the signs make q uniform over the orthogonal group
    return flat.astype(dtype)
