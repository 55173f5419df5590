"""Products with one small side, the vocabulary, over all time steps at once.

    logits: (V, H) x (H, N)        gradients of wy and of the look-up: (V, N) x (N, H)

V is some dozens, N = T B some thousands. In one call BLAS spends most of the time on bringing the large
factor into an order of its own; in chunks small enough for it to take them as they are (see tiling.py) the
same product takes half the time. The chunks depend on the sizes alone: the same sizes, the same bits.
"""

import numpy as np

from src.rnn.parameters import Array
from src.rnn.tiling import SMALL

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
