"""Activation cache: what the forward pass of a layer stores for its backward pass, in aligned arrays.

The arrays that NumPy allocates begin where malloc puts them, in most cases 16 bytes after the start of a
cache line. Then every store of 64 bytes touches two cache lines, and the calls on a few thousand numbers, of
which the loops over time consist, take 1.7 times as long (measured with AVX-512).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from src.rnn.parameters import Array, RNNConfig

Views = TypeVar("Views")

CACHE_LINE = 64  # bytes


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Allocate an uninitialized array like np.empty, with its first element at the start of a cache line.

    Args:
        shape: Shape of the array.
        dtype: Type of its elements.

    Returns:
        The array.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    return at_cache_line(np.empty(size + CACHE_LINE, np.uint8), dtype, shape)


def at_cache_line(memory: NDArray[np.uint8], dtype: Any, shape: tuple[int, ...]) -> Array:
    """Return an array in the given memory, with its first element at the start of a cache line.

    Args:
        memory: One-dimensional array of bytes, at least CACHE_LINE bytes longer than the array.
        dtype: Type of the elements.
        shape: Shape of the array.

    Returns:
        A view of `memory`.
    """
    begin = -memory.ctypes.data % CACHE_LINE
    size = prod(shape) * np.dtype(dtype).itemsize
    array: Array = memory[begin : begin + size].view(dtype).reshape(shape)
    return array


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Allocate an array of zeros like np.zeros, with its first element at the start of a cache line.

    Args:
        shape: Shape of the array.
        dtype: Type of its elements.

    Returns:
        The array.
    """
    array = empty(shape, dtype)
    array[...] = 0
    return array


@dataclass(frozen=True)
class LayerCache:
    """Activation cache of one layer for a sequence, allocated once for T time steps and B sequences.

    Attributes:
        blocks: The gates and `extra` in one array, shape (G+1, T, B, H); each block is contiguous.
        h: Hidden states, shape (T+1, B, H); h[0] is the initial state.
        c: Cell states of the LSTM, shape (T+1, B, H); empty, shape (0, B, H), for other cells.
        product: Recurrent product h_{t-1} wh of one time step, shape (G, B, H).
        embedding: Embedding of the characters of one time step, shape (G, B, H).
        scratch: Scratch arrays of one time step, shape (`Cell.scratch`, B, H).
        views: The results that `cached_views` stores.
    """

    blocks: Array
    h: Array
    c: Array
    product: Array
    embedding: Array
    scratch: Array
    views: dict[Callable[..., Any], tuple[Array, Any]] = field(default_factory=dict)

    def cached_views(self, make: Callable[["LayerCache", Array], Views], of: Array) -> Views:
        """Return `make(self, of)`, computed once per array: indexing takes as long as a call of NumPy.

        Args:
            make: Function that slices this cache and `of` into the views of each time step.
            of: Array that is sliced; another array replaces the stored views.

        Returns:
            What `make` returned, now or in an earlier call.
        """
        if self.views.get(make, (None,))[0] is not of:
            self.views[make] = of, make(self, of)
        views: Views = self.views[make][1]
        return views

    @classmethod
    def allocate(cls, architecture: RNNConfig, steps: int, batch: int, dtype: Any = np.float32) -> Self:
        """Allocate a cache with a zero initial state.

        Args:
            architecture: Sizes of the network.
            steps: Number of time steps T.
            batch: Batch size B.
            dtype: float32 in training, float64 or complex128 in gradient checks.

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
        """Gate activations, shape (G, T, B, H); after the backward pass dL/d(pre-activations)."""
        return self.blocks[:-1]

    @cached_property
    def extra(self) -> Array:
        """Last block, shape (T, B, H): tanh(c_t) of the LSTM, q_t of the GRU, scratch of the vanilla RNN."""
        last: Array = self.blocks[-1]
        return last
