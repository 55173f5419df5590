"""What a layer's forward pass leaves behind for its backward pass, allocated once for a shape (T, B)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from src.rnn.aligned import empty, zeros
from src.rnn.parameters import Architecture, Array

Made = TypeVar("Made")


@dataclass(frozen=True)
class Tape:
    """blocks (G + 1, T, B, H): the gates, and behind them what else a cell keeps: tanh(c_t) of the LSTM, the
    product inside the reset gate of the GRU, scratch of the vanilla RNN. A block is contiguous.
    h (T+1, B, H): hidden states, h[0] the initial one. c (T+1, B, H): the LSTM's cell states, else empty.
    product, looked_up (G, B, H), scratch (the kind's, B, H): of one time step.
    """

    blocks: Array
    h: Array
    c: Array
    product: Array
    looked_up: Array
    scratch: Array
    views: dict[Callable[..., Any], tuple[Array, Any]] = field(default_factory=dict)

    def once(self, make: Callable[["Tape", Array], Made], of: Array) -> Made:
        """The views that `make` makes of this tape and of `of`, kept: an index costs as much as a call."""
        if self.views.get(make, (None,))[0] is not of:
            self.views[make] = of, make(self, of)
        views: Made = self.views[make][1]
        return views

    @classmethod
    def allocate(cls, architecture: Architecture, steps: int, batch: int, dtype: Any = np.float32) -> "Tape":
        g, h = architecture.gates, architecture.hidden
        cells = steps + 1 if architecture.states == 2 else 0
        return cls(
            blocks=empty((g + 1, steps, batch, h), dtype),
            h=zeros((steps + 1, batch, h), dtype),
            c=zeros((cells, batch, h), dtype),
            product=empty((g, batch, h), dtype),
            looked_up=empty((g, batch, h), dtype),
            scratch=empty((architecture.kind.scratch, batch, h), dtype),
        )

    @cached_property
    def gates(self) -> Array:
        """(G, T, B, H): the gates' values, after the backward pass dL/d(their pre-activations)."""
        return self.blocks[:-1]

    @cached_property
    def kept(self) -> Array:
        """(T, B, H)."""
        last: Array = self.blocks[-1]
        return last
