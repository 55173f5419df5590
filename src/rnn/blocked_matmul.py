"""The product of every time step, h_{t-1} wh, cut into tiles small enough for BLAS to take them as they are.

BLAS copies both factors into an order of its own before it multiplies. At the 32 to 64 rows of a batch that
copy of wh, again at each time step, takes a third of the time. For small products OpenBLAS does without: up
to 10^6 multiplications on processors with AVX-512 (kernel/x86_64/sgemm_small_kernel_permit_skylakex.c). So
wh is cut into column tiles once a batch, and one np.matmul call goes over them: 159 instead of 101 GFLOP/s
for (32, 128) x (128, 512), 150 instead of 106 for (32, 512) x (512, 512), on one of two busy cores.

The tiles depend on the sizes alone, so that the same sizes always give the same bits.

Products with one small side, the vocabulary, over all time steps at once.

    logits: (V, H) x (H, N)        gradients of wy and of the look-up: (V, N) x (N, H)

V is some dozens, N = T B some thousands. In one call BLAS spends most of the time on bringing the large
factor into an order of its own; in chunks small enough for it to take them as they are (see above) the
same product takes half the time. The chunks depend on the sizes alone: the same sizes, the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from src.rnn.aligned import empty
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


SMALL_TRANSPOSED = 1200  # numbers of the result, where the second factor is a transposed view (same source)
COLUMNS = 64
CHUNKS = (256, 128)
AT_ONCE = 8  # chunks whose sums are held at a time


def chunk_of_sum(v: int, n: int) -> int:
    """How many of the N terms one small product adds up; N where chunks bring nothing."""
    fitting = (c for c in CHUNKS if n % c == 0 and n > c and v * c * COLUMNS <= SMALL)
    return next(fitting, n)


def sum_of_products(left: Array, right: Array, out: Array, partial: Array) -> None:
    """out (G, V, H) = left (V, N) right (G, N, H). partial (AT_ONCE + 1, G or more, V, H): scratch."""
    (v, n), (g, _, h) = left.shape, right.shape
    chunk = chunk_of_sum(v, n)
    if chunk == n or h % COLUMNS:
        np.matmul(left, right, out=out)
        return
    partial, tiles = partial[:, :g], h // COLUMNS
    lefts = left.reshape(v, -1, chunk).swapaxes(0, 1)[:, None, None]
    rights = right.reshape(g, -1, chunk, tiles, COLUMNS).transpose(1, 0, 3, 2, 4)
    results = partial.reshape(-1, g, v, tiles, COLUMNS).swapaxes(2, 3)
    partial[0] = 0  # the sum so far
    for begin in range(0, n // chunk, AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        last = 1 + len(lefts[some])
        np.matmul(lefts[some], rights[some], out=results[1:last])
        np.add.reduce(partial[:last], axis=0, out=out)
        partial[0] = out


def chunk_of_rows(v: int, n: int, h: int) -> int:
    """How many of the N rows one small product takes; N where chunks bring nothing."""
    small = (c for c in (16, 8) if n % c == 0 and v * c <= SMALL_TRANSPOSED and v * c * h <= SMALL)
    return next(small, n)


def product_with_rows(w: Array, rows: Array, out: Array) -> None:
    """out (V, N) = w^T rows^T, w (H, V), rows (N, H)."""
    (h, v), n = w.shape, len(rows)
    chunk = chunk_of_rows(v, n, h)
    if chunk == n:
        np.matmul(w.T, rows.T, out=out)
        return
    right = rows.reshape(-1, chunk, h).swapaxes(1, 2)
    np.matmul(np.ascontiguousarray(w.T), right, out=out.reshape(v, -1, chunk).swapaxes(0, 1))
