"""Activation cache: what the forward pass of a layer stores for its backward pass, in aligned arrays.

NumPy's own arrays begin wherever malloc puts them, mostly 16 bytes into a cache line; then every 64-byte
store of an element-wise call touches two lines, and calls on some thousand numbers, of which the loops over
time consist, take 1.7 times as long (measured with AVX-512).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from src.rnn.parameters import Array, RNNConfig

Views = TypeVar("Views")

CACHE_LINE = 64  # bytes


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return np.empty(shape, dtype) with the first element at a cache line."""
    size = prod(shape) * np.dtype(dtype).itemsize
    return at_cache_line(np.empty(size + CACHE_LINE, np.uint8), dtype, shape)


def at_cache_line(memory: NDArray[np.uint8], dtype: Any, shape: tuple[int, ...]) -> Array:
    """Return an array in `memory` (bytes, at least CACHE_LINE more than it needs), a view."""
    begin = -memory.ctypes.data % CACHE_LINE
    size = prod(shape) * np.dtype(dtype).itemsize
    array: Array = memory[begin : begin + size].view(dtype).reshape(shape)
    return array


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return np.zeros(shape, dtype) with the first element at a cache line."""
    array = empty(shape, dtype)
    array[...] = 0
    return array


@dataclass(frozen=True)
class LayerCache:
    """Activations of one layer over a sequence, allocated once for a shape (T, B).

    Attributes:
        blocks: Gates and `extra` in one array (G + 1, T, B, H); each block is contiguous.
        h: Hidden states (T+1, B, H); h[0] is the initial state.
        c: Cell states (T+1, B, H) of the LSTM; empty for other cells.
        product: Recurrent product h_{t-1} wh (G, B, H) of one time step.
        embedding: Embedding (G, B, H) of the characters of one time step.
        scratch: Scratch arrays (Cell.scratch, B, H) of one time step.
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
