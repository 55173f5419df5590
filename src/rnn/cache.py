"""Activation cache: what the forward pass of a layer stores for its backward pass."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from src.rnn.aligned import empty, zeros
from src.rnn.parameters import Array, RNNConfig

Views = TypeVar("Views")


@dataclass(frozen=True)
class LayerCache:
    """Activations of one layer over a sequence, allocated once for a shape (T, B).

    Attributes:
        blocks: Gates and `extra` in one array (G + 1, T, B, H); each block is contiguous.
        h: Hidden states (T+1, B, H); h[0] is the initial state.
        c: Cell states (T+1, B, H) of the LSTM; empty for other cells.
        product: Recurrent product h_{t-1} wh (G, B, H) of one time step.
        embedding: Embedding (G, B, H) of the characters of one time step.
        scratch: Scratch arrays (CellSpec.scratch, B, H) of one time step.
        views: Results of `cached_views`.
    """

    blocks: Array
    h: Array
    c: Array
    product: Array
    embedding: Array
    scratch: Array
    views: dict[Callable[..., Any], tuple[Array, Any]] = field(default_factory=dict)

    def cached_views(self, make: Callable[["LayerCache", Array], Views], of: Array) -> Views:
        """Return `make(self, of)`, computed once per array: indexing costs as much as a NumPy call.

        Args:
            make: Function that slices this cache and `of` into the views of each time step.
            of: Array that is sliced; another array replaces the stored views.

        Returns:
            The stored views.
        """
        if self.views.get(make, (None,))[0] is not of:
            self.views[make] = of, make(self, of)
        views: Views = self.views[make][1]
        return views

    @classmethod
    def allocate(
        cls, architecture: RNNConfig, steps: int, batch: int, dtype: Any = np.float32
    ) -> "LayerCache":
        """Allocate a cache with a zero initial state.

        Args:
            architecture: Sizes of the network.
            steps: Time steps T.
            batch: Batch size B.
            dtype: float32, float64 or complex128.

        Returns:
            The cache; its blocks are not initialized.
        """
        g, h = architecture.gates, architecture.hidden
        cells = steps + 1 if architecture.states == 2 else 0
        return cls(
            blocks=empty((g + 1, steps, batch, h), dtype),
            h=zeros((steps + 1, batch, h), dtype),
            c=zeros((cells, batch, h), dtype),
            product=empty((g, batch, h), dtype),
            embedding=empty((g, batch, h), dtype),
            scratch=empty((architecture.spec.scratch, batch, h), dtype),
        )

    @cached_property
    def gates(self) -> Array:
        """Gate activations (G, T, B, H); after the backward pass dL/d(pre-activations)."""
        return self.blocks[:-1]

    @cached_property
    def extra(self) -> Array:
        """(T, B, H): tanh(c_t) of the LSTM, h_{t-1} wh_n + bh of the GRU, scratch of the vanilla RNN."""
        last: Array = self.blocks[-1]
        return last
