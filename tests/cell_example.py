"""A small, non-chaotic network of any cell with a batch, and the equations of every cell in plain NumPy."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from src.rnn.cells import CELLS
from src.rnn.network import Buffers, Ids, dropout_masks, forward, loss_and_gradient, zero_state
from src.rnn.parameters import Array, Layer, RNNConfig, unflatten
from tests.network_error import Bounds
from tests.rounding import DOUBLE, UNIT, contractive

Kind = tuple[str, str]  # cell and activation
Shape = tuple[int, int, int, int]  # T, B, H, V

KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
LAYERS = pytest.mark.parametrize("layers", [1, 2])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Example:
    """A random network with a batch and a nonzero state."""

    def __init__(
        self,
        kind: Kind,
        layers: int = 1,
        shape: Shape = (7, 3, 5, 6),
        dtype: type[np.floating] = np.float64,
        radius: float | None = None,
    ) -> None:
        self.steps, self.batch, hidden, vocab = shape
        rng = np.random.default_rng([layers, *shape])
        self.architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
        values = 0.7 * rng.standard_normal(self.architecture.size())
        self.params = contractive(self.architecture, values, radius).astype(dtype)
        self.p = unflatten(self.architecture, self.params)
        self.ids, self.targets = rng.integers(vocab, size=(2, self.steps, self.batch))
        self.state = rng.uniform(-0.9, 0.9, zero_state(self.architecture, self.batch).shape).astype(dtype)

    @classmethod
    def in_both_precisions(
        cls, kind: Kind, layers: int, shape: Shape, radius: float | None = None
    ) -> tuple["Example", "Example"]:
        """Return a float32 and a float64 network with the same rounded weights and state."""
        single, double = (cls(kind, layers, shape, dtype, radius) for dtype in (np.float32, np.float64))
        double.params[:], double.state[:] = single.params, single.state
        return single, double

    def buffers(
        self, steps: int | None = None, state: Array | None = None, training: bool = False
    ) -> Buffers:
        made = Buffers.allocate(
            self.architecture, steps or self.steps, self.batch, self.params.dtype, training=training
        )
        made.set_state(self.state if state is None else state)
        return made

    def masks(self, rate: float = 0.5) -> Array:
        rng = np.random.default_rng(0)
        return dropout_masks(self.architecture, self.steps, self.batch, rate, rng, self.params.dtype)

    def logits(self, ids: Ids, buffers: Buffers, masks: Array | None = None) -> Array:
        """Return a copy of the logits (T, B, V)."""
        return forward(self.p, ids, buffers, masks).T.reshape(*ids.shape, -1).copy()

    def backward(
        self,
        columns: slice = slice(None),
        masks: Array | None = None,
        buffers: Buffers | None = None,
        denominator: int | None = None,
    ) -> tuple[float, Array]:
        """Return loss and gradient of some columns of the batch."""
        g, ids, targets = np.full_like(self.params, np.nan), self.ids[:, columns], self.targets[:, columns]
        if buffers is None:
            size = ids.shape[1]
            buffers = Buffers.allocate(self.architecture, self.steps, size, self.params.dtype, training=True)
        buffers.set_state(self.state[:, :, columns])
        views = unflatten(self.architecture, g)
        return loss_and_gradient(self.p, views, ids, targets, buffers, masks, denominator), g

    def bounds(self, masks: Array | None = None, last_only: bool = False) -> Bounds:
        """Return the error bounds of the whole batch in the precision of the weights."""
        unit = UNIT if self.params.dtype == np.float32 else DOUBLE
        batch = self.ids, self.targets, self.state, masks
        return Bounds.of(self.architecture, self.params, *batch, unit=unit, last_only=last_only)


def sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def vanilla(layer: Layer, x: Array, h: Array, f: Callable[[Array], Array]) -> tuple[Array, ...]:
    (wx,), (wh,), (b,), _ = layer
    return (f(x @ wx + h @ wh + b),)


def lstm(layer: Layer, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    o, i, f, g = (x @ wx + h @ wh + b for wx, wh, b in zip(layer.wx, layer.wh, layer.b, strict=True))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(layer: Layer, x: Array, h: Array) -> tuple[Array, ...]:
    (xr, xz, xn), (hr, hz, hn), (br, bz, bn) = layer.wx, layer.wh, layer.b
    r = sigmoid(x @ xr + h @ hr + br)
    z = sigmoid(x @ xz + h @ hz + bz)
    n = np.tanh(x @ xn + bn + r * (h @ hn + layer.bh))
    return ((1 - z) * n + z * h,)


ORACLES: dict[Kind, Callable[..., tuple[Array, ...]]] = {
    ("rnn", "tanh"): partial(vanilla, f=np.tanh),
    ("rnn", "relu"): partial(vanilla, f=lambda a: np.maximum(a, 0)),
    ("gru", "tanh"): gru,
    ("lstm", "tanh"): lstm,
}
