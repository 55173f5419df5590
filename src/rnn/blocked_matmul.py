"""Matrix products in pieces that are small enough for BLAS to use them without a copy.

Products of every time step, h_{t-1} wh: BLAS copies both factors into an order of its own before it
multiplies. With the 32 to 64 rows of a batch, this copy of wh, which is made again in each time step, takes a
third of the time. For small products OpenBLAS makes no copy: up to 10^6 multiplications on processors with
AVX-512 (kernel/x86_64/sgemm_small_kernel_permit_skylakex.c). Therefore wh is cut into column tiles once per
batch, and one call of np.matmul multiplies by all of them: 159 instead of 101 GFLOP/s for
(32, 128) x (128, 512), 150 instead of 106 for (32, 512) x (512, 512), on one of two busy cores.

Products over all time steps at once, in which one side, the vocabulary, is small:

    logits: (V, H) x (H, N)        gradients of wy and of the embedding: (V, N) x (N, H)

V is a few dozen, N = T B a few thousand. In one call BLAS spends most of the time on the copy of the large
factor. In chunks that are small enough to need no copy, the same product takes half the time.

The tiles and the chunks depend only on the sizes, so that the same sizes always give the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from src.rnn.cache import empty
from src.rnn.parameters import Array

SMALL_GEMM_MULS = 10**6  # multiplications
TILE_ELEMENTS = 8192  # numbers in a tile of weights: 32 kB in float32 leave space in the first-level cache
MAX_TILE_ELEMENTS = 16384  # the largest tile that saves time (measured: at 1024 units it does not)
MIN_TILE_COLUMNS, MAX_TILE_COLUMNS = 32, 64  # columns of a tile; narrower ones leave vector registers empty
MIN_TILE_ROWS = 16  # with fewer, wh is read only once and the copy does not matter


@dataclass(frozen=True)
class Tiling:
    """Tiling of products (B, H) x (H, H): the result is computed in tiles of `rows` x `columns`."""

    batch: int  # batch size B
    units: int  # hidden units H
    rows: int  # of a tile, a divisor of B
    columns: int  # of a tile, a divisor of H; H itself if nothing is cut

    @classmethod
    @cache
    def for_shape(cls, batch: int, units: int) -> "Tiling":
        """Choose the tiling for a shape, once per shape.

        Args:
            batch: Batch size B.
            units: Hidden units H.

        Returns:
            The tiling; one tile for the whole result if smaller tiles would not be faster.
        """
        widest = min(MAX_TILE_COLUMNS, max(MIN_TILE_COLUMNS, TILE_ELEMENTS // units))
        columns = max((n for n in range(MIN_TILE_COLUMNS, widest + 1) if units % n == 0), default=0)
        rows = batch
        while rows % 2 == 0 and rows * units * columns > SMALL_GEMM_MULS:
            rows //= 2
        small = rows * units * columns <= SMALL_GEMM_MULS and units * columns <= MAX_TILE_ELEMENTS
        if columns and rows >= MIN_TILE_ROWS and small:
            return cls(batch, units, rows, columns)
        return cls(batch, units, batch, units)

    @property
    def matmul(self) -> Callable[..., Any]:
        """Function that multiplies the tiled factors; ndarray.dot, faster to call, if nothing is cut."""
        return np.ndarray.dot if self.columns == self.units else np.matmul

    def tile_rhs(self, w: Array) -> Array:
        """Copy recurrent weights into column tiles, the right factor of the product.

        Args:
            w: Weights, shape (..., H, H).

        Returns:
            Tiles, shape (..., tiles, H, columns), or (..., tiles, 1, H, columns) if the rows are cut, too. If
                nothing is cut, a copy with the shape of `w`; for batches below MIN_TILE_ROWS, `w` itself.
        """
        if self.batch < MIN_TILE_ROWS:
            return w  # with so few rows, a copy takes more time than it saves
        *gates, h, _ = w.shape
        tiles = w.reshape(*gates, h, -1, self.columns).swapaxes(-2, -3)
        copy = empty(tiles.shape, w.dtype)
        copy[...] = tiles
        if self.columns == self.units:
            return copy.reshape(w.shape)
        return copy if self.rows == self.batch else copy[..., None, :, :]

    def tile_lhs(self, h: Array) -> Array:
        """View hidden states as the left factor of the product.

        Args:
            h: Hidden states, shape (..., B, H).

        Returns:
            View of `h`, shape (..., 1, B, H), or (..., 1, row tiles, rows, H) if the rows are cut, too; `h`
                itself if nothing is cut.
        """
        if self.columns == self.units:
            return h
        if self.rows < self.batch:
            h = h.reshape(*h.shape[:-2], -1, self.rows, self.units)
            return h[..., None, :, :, :]
        return h[..., None, :, :]

    def tile_out(self, a: Array) -> Array:
        """View an array as the output of np.matmul(tile_lhs(h), tile_rhs(w)).

        Args:
            a: Array for the product h w, shape (..., B, H).

        Returns:
            View of `a`, shape (..., tiles, B, columns), or (..., tiles, row tiles, rows, columns) if the rows
                are cut, too; `a` itself if nothing is cut.
        """
        if self.columns == self.units:
            return a
        if self.rows == self.batch:
            return a.reshape(*a.shape[:-1], -1, self.columns).swapaxes(-2, -3)
        tiles = a.reshape(*a.shape[:-2], -1, self.rows, self.units // self.columns, self.columns)
        return np.moveaxis(tiles, -2, -4)


SMALL_TRANSPOSED_ELEMENTS = 1200  # in the result, if the second factor is a transposed view (same file)
CHUNK_COLUMNS = 64
CHUNK_TERMS = (256, 128)
MAX_CHUNKS = 8  # chunks whose products are stored at the same time


def k_chunk(v: int, n: int) -> int:
    """Choose how many of the N terms of each sum one small product of `split_k_matmul` adds.

    Args:
        v: Rows V of the left factor.
        n: Number of terms N.

    Returns:
        Number of terms, a divisor of N; N itself where chunks are not faster.
    """
    fitting = (c for c in CHUNK_TERMS if n % c == 0 and n > c and v * c * CHUNK_COLUMNS <= SMALL_GEMM_MULS)
    return next(fitting, n)


def split_k_matmul(left: Array, right: Array, out: Array, partial: Array) -> None:
    """Compute out = left right in chunks of the N terms of each sum.

    Args:
        left: Left factor, shape (V, N).
        right: Right factor of each gate, shape (G, N, H).
        out: Array for the result, shape (G, V, H).
        partial: Scratch array for partial sums, shape (MAX_CHUNKS + 1, G or more, V, H), overwritten.
    """
    (v, n), (g, _, h) = left.shape, right.shape
    chunk = k_chunk(v, n)
    if chunk == n or h % CHUNK_COLUMNS:
        np.matmul(left, right, out=out)
        return
    partial, tiles = partial[:, :g], h // CHUNK_COLUMNS
    lefts = left.reshape(v, -1, chunk).swapaxes(0, 1)[:, None, None]
    rights = right.reshape(g, -1, chunk, tiles, CHUNK_COLUMNS).transpose(1, 0, 3, 2, 4)
    results = partial.reshape(-1, g, v, tiles, CHUNK_COLUMNS).swapaxes(2, 3)
    partial[0] = 0  # the sum so far
    for begin in range(0, n // chunk, MAX_CHUNKS):
        some = slice(begin, begin + MAX_CHUNKS)
        last = 1 + len(lefts[some])
        np.matmul(lefts[some], rights[some], out=results[1:last])
        np.add.reduce(partial[:last], axis=0, out=out)
        partial[0] = out


def n_chunk(v: int, n: int, h: int) -> int:
    """Choose how many of the N rows one small product of `split_n_matmul` multiplies.

    Args:
        v: Columns V of the weights.
        n: Number of rows N.
        h: Number of terms H of each sum.

    Returns:
        Number of rows, a divisor of N; N itself where chunks are not faster.
    """
    fits = min(SMALL_TRANSPOSED_ELEMENTS, SMALL_GEMM_MULS // h)
    small = (c for c in (16, 8) if n % c == 0 and v * c <= fits)
    return next(small, n)


def split_n_matmul(w: Array, rows: Array, out: Array) -> None:
    """Compute out = w^T rows^T in chunks of the N rows.

    Args:
        w: Weights, shape (H, V).
        rows: Hidden states, shape (N, H).
        out: Array for the result, shape (V, N).
    """
    (h, v), n = w.shape, len(rows)
    chunk = n_chunk(v, n, h)
    if chunk == n:
        np.matmul(w.T, rows.T, out=out)
        return
    right = rows.reshape(-1, chunk, h).swapaxes(1, 2)
    np.matmul(np.ascontiguousarray(w.T), right, out=out.reshape(v, -1, chunk).swapaxes(0, 1))
