"""Sizes of a network and its parameters, stored in one flat vector, and their initialization.

Every parameter is a view of one vector, and every gradient is a view of another vector with the same layout.
Therefore the global norm, clipping and the optimizer need only a few calls on one array.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.rnn.cells import Cell, get_cell

Array = NDArray[Any]  # float32 or float64, and complex128 in the complex-step gradient check
SCHEMES = ("uniform", "orthogonal", "identity")  # of initialization


@dataclass(frozen=True)
class RNNConfig:
    """Sizes and cell type of a network; they determine the shape of every array.

    Attributes:
        vocab: Vocabulary size V.
        hidden: Hidden units per layer H.
        cell: `rnn`, `gru`, `lstm`, or the dotted path of a `Cell`; see `cells.get_cell`.
        layers: Number of layers L.
        activation: `tanh`, or `relu` for the cell `rnn`.
    """

    vocab: int
    hidden: int
    cell: str = "rnn"
    layers: int = 1
    activation: str = "tanh"

    @property
    def spec(self) -> Cell:
        """Cell of the network: the arrays that it needs, and its functions."""
        return get_cell(self.cell, self.activation)

    @property
    def gates(self) -> int:
        """Number of gates G, that is, of blocks of pre-activations per time step."""
        return len(self.spec.gates)

    @property
    def states(self) -> int:
        """Number of state arrays per layer S: 2 for the LSTM, 1 for the other cells."""
        return self.spec.states

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each parameter.

        The parameters of the first layer are named wx, wh and b (and bh for the GRU), those of the second
        layer wx2, wh2 and b2, and so on; wy and by belong to the output. A cell with one gate has no axis of
        gates.

        Returns:
            Shapes by name, in the order of the flat vector.

        Examples:
            >>> RNNConfig(vocab=27, hidden=128).shapes()
            {'wx': (27, 128), 'wh': (128, 128), 'b': (128,), 'wy': (128, 27), 'by': (27,)}
        """
        v, h, g = self.vocab, self.hidden, self.gates
        gates = () if g == 1 else (g,)
        named: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            suffix = "" if layer == 0 else str(layer + 1)
            inputs = v if layer == 0 else h
            named[f"wx{suffix}"] = (*gates, inputs, h)
            named[f"wh{suffix}"] = (*gates, h, h)
            named[f"b{suffix}"] = (*gates, h)
            if self.spec.recurrent_bias:
                named[f"bh{suffix}"] = (h,)
        return named | {"wy": (h, v), "by": (v,)}

    def size(self) -> int:
        """Count the parameters.

        Returns:
            Number of parameters n, the length of the flat vector.

        Examples:
            >>> RNNConfig(vocab=27, hidden=128).size()
            23451
        """
        return sum(prod(shape) for shape in self.shapes().values())


class Layer(NamedTuple):
    """Parameters of one layer, or their gradients, as views with the gates as first axis.

    Attributes:
        wx: Input weights, shape (G, D, H). In the first layer D = V, one row per character; in the others
            D = H.
        wh: Recurrent weights, shape (G, H, H).
        b: Biases, shape (G, H).
        bh: Bias of the GRU inside the product of the reset gate, shape (H,); empty, shape (0,), for other
            cells.
    """

    wx: Array
    wh: Array
    b: Array
    bh: Array


class Parameters(NamedTuple):
    """Parameters of a network, or their gradients, as views.

    Attributes:
        layers: Parameters of the recurrent layers, from the first to the last.
        wy: Output weights, shape (H, V).
        by: Output biases, shape (V,).
    """

    layers: tuple[Layer, ...]
    wy: Array
    by: Array

    def matrices(self) -> list[Array]:
        """Return the weight matrices, the parameters to which weight decay applies.

        Returns:
            Views of wx and wh of every layer, and of wy: 2 L + 1 arrays.
        """
        return [m for layer in self.layers for m in (layer.wx, layer.wh)] + [self.wy]


def named_views(architecture: RNNConfig, params: Array) -> dict[str, Array]:
    """Return each parameter by its name, as a view of the flat vector.

    Args:
        architecture: Sizes of the network.
        params: Flat vector of parameters or gradients, shape (n,).

    Returns:
        Views with the names and shapes of `architecture.shapes()`.

    Raises:
        ValueError: The vector has another size.
    """
    if params.shape != (architecture.size(),):
        raise ValueError(f"expected a vector of {architecture.size()} parameters, got shape {params.shape}")
    views, start = {}, 0
    for name, shape in architecture.shapes().items():
        stop = start + prod(shape)
        views[name] = params[start:stop].reshape(shape)
        start = stop
    return views


def unflatten(architecture: RNNConfig, params: Array) -> Parameters:
    """Return the parameters of the layers as views of the flat vector, with the gates as first axis.

    Args:
        architecture: Sizes of the network.
        params: Flat vector of parameters or gradients, shape (n,).

    Returns:
        Views of `params`: writing to a view writes to `params`.

    Raises:
        ValueError: The vector has another size.
    """
    views, g, h = named_views(architecture, params), architecture.gates, architecture.hidden
    layers = []
    for layer in range(architecture.layers):
        suffix = "" if layer == 0 else str(layer + 1)
        wx, wh, b = (views[f"{name}{suffix}"] for name in ("wx", "wh", "b"))
        bh = views.get(f"bh{suffix}", params[:0])
        layers.append(Layer(wx.reshape(g, -1, h), wh.reshape(g, h, h), b.reshape(g, h), bh))
    return Parameters(tuple(layers), views["wy"], views["by"])


def initialize(
    architecture: RNNConfig, scheme: str, rng: np.random.Generator, dtype: Any = np.float32
) -> Array:
    """Draw the initial parameters.

    - `uniform`: every weight from U(-1/sqrt(H), 1/sqrt(H)), as in torch.nn.RNN; the simple choice.
    - `orthogonal`: the same, but `wh` of each gate is a random orthogonal matrix. It keeps the length of the
      hidden state and of the gradient that flows back through it (Saxe, McClelland and Ganguli 2014, "Exact
      solutions to the nonlinear dynamics of learning in deep linear neural networks").
    - `identity`: `wh` is the identity matrix, so that a ReLU network remembers everything at first (Le,
      Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units"); only
      for the cell `rnn`.

    Biases are 0. Only the bias of the forget gate of the LSTM is 1, so that the cell remembers at first
    (Jozefowicz, Zaremba and Sutskever 2015, "An empirical exploration of recurrent network architectures").

    Args:
        architecture: Sizes of the network.
        scheme: `uniform`, `orthogonal` or `identity`.
        rng: Source of the randomness.
        dtype: Type of the result. The numbers are drawn in float64 and then converted.

    Returns:
        Flat vector of the parameters, shape (n,).

    Raises:
        ValueError: The scheme is unknown, or it is `identity` and the cell is not `rnn`.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"expected the initialization {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "identity" and architecture.cell != "rnn":
        raise ValueError(f"expected cell rnn for the initialization identity, got {architecture.cell}")
    h = architecture.hidden
    bound = 1.0 / np.sqrt(h)
    params = rng.uniform(-bound, bound, architecture.size())
    p = unflatten(architecture, params)
    p.by[:] = 0.0
    for layer in p.layers:
        layer.b[:] = 0.0
        layer.bh[:] = 0.0
        layer.b[[letter in architecture.spec.bias_one_gates for letter in architecture.spec.gates]] = 1.0
        for gate in layer.wh:
            if scheme == "orthogonal":
                gate[:] = orthogonal(h, rng)
            elif scheme == "identity":
                gate[:] = np.eye(h)
    return params.astype(dtype)


def orthogonal(size: int, rng: np.random.Generator) -> Array:
    """Draw a matrix uniformly from the orthogonal group.

    Mezzadri (2007), "How to generate random matrices from the classical compact groups": a QR decomposition,
    with signs that make the diagonal of R positive.

    Args:
        size: Number of rows and columns.
        rng: Source of the randomness.

    Returns:
        Orthogonal matrix, float64, shape (size, size).
    """
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    signed: Array = q * np.sign(np.diag(r))
    return signed
