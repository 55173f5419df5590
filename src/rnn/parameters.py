"""The parameters of a network: what there is, its shapes, and one flat vector that holds it all.

Every parameter is a view into one vector, and every gradient a view into another of the same layout,
so the global norm, the clipping and the optimiser are each a handful of calls on one array.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from numpy.typing import NDArray

from src.rnn.cell_spec import KINDS, Kind

Array = NDArray[Any]  # float32 or float64, and complex128 in the complex-step gradient check


@dataclass(frozen=True)
class Architecture:
    """The sizes and the kind of cell, which fix every shape.

    vocab: V, distinct characters. hidden: H, units a layer. cell: a name of KINDS. layers: L.
    activation: of the vanilla RNN, tanh or relu.
    """

    vocab: int
    hidden: int
    cell: str = "rnn"
    layers: int = 1
    activation: str = "tanh"

    @property
    def kind(self) -> Kind:
        return KINDS[self.cell]

    @property
    def gates(self) -> int:
        """G: blocks of pre-activations of a step."""
        return len(self.kind.gates)

    @property
    def states(self) -> int:
        """S: arrays carried from step to step."""
        return self.kind.states

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter, in the order in which the flat vector holds them.

        The first layer's are wx, wh and b (and the GRU's bh), the second's wx2, wh2, b2, ...

        >>> Architecture(vocab=27, hidden=128).shapes()
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
            if self.kind.inner_bias:
                named[f"bh{suffix}"] = (h,)
        return named | {"wy": (h, v), "by": (v,)}

    def size(self) -> int:
        """Number of parameters.

        >>> Architecture(vocab=27, hidden=128).size()
        23451
        """
        return sum(prod(shape) for shape in self.shapes().values())


class Layer(NamedTuple):
    """One layer's parameters (or their gradients), each a view; G gates, D inputs.

    wx (G, D, H): input to gates; of the first layer D = V, a row for each character. wh (G, H, H):
    hidden state to gates. b (G, H). bh (H,): the GRU's bias inside the reset gate's product, else empty.
    """

    wx: Array
    wh: Array
    b: Array
    bh: Array


class Parameters(NamedTuple):
    """All layers, and wy (H, V), by (V,): hidden state of the last layer to logits."""

    layers: tuple[Layer, ...]
    wy: Array
    by: Array

    def matrices(self) -> list[Array]:
        """The weight matrices: what weight decay shrinks."""
        return [m for layer in self.layers for m in (layer.wx, layer.wh)] + [self.wy]


def named_views(architecture: Architecture, flat: Array) -> dict[str, Array]:
    """Each parameter by its name, a view of `flat`, shape (architecture.size(),).

    Raises ValueError when `flat` has another size.
    """
    if flat.shape != (architecture.size(),):
        raise ValueError(f"expected a vector of {architecture.size()} parameters, got shape {flat.shape}")
    views, start = {}, 0
    for name, shape in architecture.shapes().items():
        stop = start + prod(shape)
        views[name] = flat[start:stop].reshape(shape)
        start = stop
    return views


def unflatten(architecture: Architecture, flat: Array) -> Parameters:
    """Views of `flat`, gates always as the first axis: writing to one writes to the other."""
    views, g, h = named_views(architecture, flat), architecture.gates, architecture.hidden
    layers = []
    for layer in range(architecture.layers):
        suffix = "" if layer == 0 else str(layer + 1)
        layers.append(
            Layer(
                wx=views[f"wx{suffix}"].reshape(g, -1, h),
                wh=views[f"wh{suffix}"].reshape(g, h, h),
                b=views[f"b{suffix}"].reshape(g, h),
                bh=views.get(f"bh{suffix}", flat[:0]),
            )
        )
    return Parameters(tuple(layers), views["wy"], views["by"])
