"""A small, non-chaotic network of any cell with a batch, to compare two computations."""

import numpy as np

from src.rnn.network import Buffers, Ids, forward, loss_and_gradient, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten
from tests.network_error import Bounds
from tests.rounding import DOUBLE, UNIT, contractive


class Example:
    """A random network with a batch and a nonzero state."""

    def __init__(
        self,
        kind: tuple[str, str],
        layers: int,
        shape: tuple[int, int, int, int] = (7, 3, 5, 6),
        dtype: type[np.floating] = np.float64,
    ) -> None:
        self.steps, self.batch, hidden, vocab = shape
        rng = np.random.default_rng([layers, *shape])
        self.architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
        values = 0.7 * rng.standard_normal(self.architecture.size())
        self.params = contractive(self.architecture, values).astype(dtype)
        self.p = unflatten(self.architecture, self.params)
        self.ids, self.targets = rng.integers(vocab, size=(2, self.steps, self.batch))
        self.state = rng.uniform(-0.9, 0.9, zero_state(self.architecture, self.batch).shape).astype(dtype)

    def buffers(
        self, steps: int | None = None, state: Array | None = None, training: bool = False
    ) -> Buffers:
        made = Buffers.allocate(
            self.architecture, steps or self.steps, self.batch, self.params.dtype, training=training
        )
        made.set_state(self.state if state is None else state)
        return made

    def logits(self, ids: Ids, buffers: Buffers, masks: Array | None = None) -> Array:
        """Return a copy of the logits (T, B, V)."""
        return forward(self.p, ids, buffers, masks).T.reshape(*ids.shape, -1).copy()

    def backward(
        self, ids: Ids, targets: Ids, state: Array, masks: Array | None = None
    ) -> tuple[float, Array]:
        """Return loss and gradient."""
        g = np.full_like(self.params, np.nan)
        buffers = self.buffers(state=state, training=True)
        loss = loss_and_gradient(self.p, unflatten(self.architecture, g), ids, targets, buffers, masks)
        return loss, g

    def bounds(self, masks: Array | None = None) -> Bounds:
        """Return the error bounds of the whole batch in the precision of the weights."""
        unit = UNIT if self.params.dtype == np.float32 else DOUBLE
        return Bounds.of(self.architecture, self.params, self.ids, self.targets, self.state, masks, unit)
