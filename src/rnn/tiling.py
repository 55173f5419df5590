"""The product of every time step, h_{t-1} wh, cut into tiles small enough for BLAS to take them as they are.

BLAS copies both factors into an order of its own before it multiplies. At the 32 to 64 rows of a batch that
copy of wh, again at each time step, takes a third of the time. For small products OpenBLAS does without: up
to 10^6 multiplications on processors with AVX-512 (kernel/x86_64/sgemm_small_kernel_permit_skylakex.c). So
wh is cut into column tiles once a batch, and one np.matmul call goes over them: 159 instead of 101 GFLOP/s
for (32, 128) x (128, 512), 150 instead of 106 for (32, 512) x (512, 512), on one of two busy cores.

The tiles depend on the sizes alone, so that the same sizes always give the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from src.rnn.arrays import empty
from src.rnn.parameters import Array

SMALL = 10**6  # multiplications
TILE = 8192  # numbers of a tile of weights: 32 kB in float32 stay in the first cache beside the rest
LARGEST = 16384  # and of the largest that is still worth it (measured: at 1024 units it no longer is)
NARROWEST, WIDEST = 32, 64  # columns of a tile; narrower ones leave vector registers empty
FEWEST_ROWS = 16  # with fewer, wh is read only once and the copy does not matter


@dataclass(frozen=True)
class Tiling:
    """How products (batch, units) x (units, units) are cut: tiles of `rows` x `columns` of the result."""

    batch: int
    units: int
    rows: int
    columns: int

    @classmethod
    @cache
    def of(cls, batch: int, units: int) -> "Tiling":
        widest = min(WIDEST, max(NARROWEST, TILE // units))
        columns = max((n for n in range(NARROWEST, widest + 1) if units % n == 0), default=0)
        rows = batch
        while rows % 2 == 0 and rows * units * columns > SMALL:
            rows //= 2
        if not columns or rows < FEWEST_ROWS or rows * units * columns > SMALL or units * columns > LARGEST:
            return cls(batch, units, batch, units)
        return cls(batch, units, rows, columns)

    @property
    def multiply(self) -> Callable[..., Any]:
        """The product of (B, H) with (H, H): ndarray.dot, where nothing is cut, is the quicker to call."""
        return np.ndarray.dot if self.columns == self.units else np.matmul

    def weights(self, w: Array) -> Array:
        """A copy of w (..., H, H) by column tiles: (..., tiles, [1,] H, columns)."""
        if self.batch < FEWEST_ROWS:
            return w  # so few rows that a copy would cost more than it brings
        *gates, h, _ = w.shape
        tiles = w.reshape(*gates, h, -1, self.columns).swapaxes(-2, -3)
        copy = empty(tiles.shape, w.dtype)
        copy[...] = tiles
        if self.columns == self.units:
            return copy.reshape(w.shape)
        return copy if self.rows == self.batch else copy[..., None, :, :]

    def left(self, h: Array) -> Array:
        """h (..., B, H) as the left factor, a view: (..., 1, [row tiles,] rows, H)."""
        if self.columns == self.units:
            return h
        if self.rows < self.batch:
            h = h.reshape(*h.shape[:-2], -1, self.rows, self.units)
            return h[..., None, :, :, :]
        return h[..., None, :, :]

    def result(self, a: Array) -> Array:
        """a (..., B, H) as what np.matmul(left, weights) writes to, a view."""
        if self.columns == self.units:
            return a
        if self.rows == self.batch:
            return a.reshape(*a.shape[:-1], -1, self.columns).swapaxes(-2, -3)
        tiles = a.reshape(*a.shape[:-2], -1, self.rows, self.units // self.columns, self.columns)
        return np.moveaxis(tiles, -2, -4)
