"""Tiled and chunked products equal plain products of integers, which need no rounding."""

from typing import Any

import numpy as np
import pytest

from src.rnn.blocked_matmul import (
    MAX_CHUNKS,
    SMALL_GEMM_MULS,
    SMALL_TRANSPOSED_ELEMENTS,
    Tiling,
    k_chunk,
    n_chunk,
    split_k_matmul,
    split_n_matmul,
)
from src.rnn.parameters import Array

# Batch size, units, rows and columns of a tile
TILED = [(32, 128, 32, 64), (64, 256, 64, 32), (32, 512, 32, 32), (64, 512, 32, 32), (16, 96, 16, 48),
         (100, 100, 100, 50), (33, 512, 33, 32)]  # fmt: skip
NOT_TILED = [(32, 64), (15, 128), (1, 128), (32, 7), (32, 31), (32, 544)]
# V, N, terms in a chunk
K_CHUNKS = [(27, 640, 128), (27, 2048, 256), (65, 2048, 128), (65, 8192, 128), (200, 2048, 2048),
            (27, 256, 128), (27, 128, 128), (2, 20, 20)]  # fmt: skip
# V, N, H, columns in a chunk; 75 * 16 elements and 1250 * 50 * 16 multiplications are the limits
N_CHUNKS = [(27, 640, 128, 16), (75, 640, 128, 16), (76, 640, 128, 8), (150, 640, 128, 8),
            (151, 640, 128, 640), (27, 24, 128, 8), (27, 20, 128, 20), (2, 1, 8, 1), (256, 64, 1024, 64),
            (50, 640, 1250, 16), (50, 640, 1251, 8)]  # fmt: skip


def integers(*shape: int) -> Array:
    """Return numbers whose products are exact in float32, too."""
    return np.random.default_rng(shape).integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("batch", "units", "rows", "columns"), [*TILED, *((b, h, b, h) for b, h in NOT_TILED)]
)
def test_tiled_matmul(batch: int, units: int, rows: int, columns: int) -> None:
    tiling = Tiling.for_shape(batch, units)
    assert (tiling.rows, tiling.columns) == (rows, columns)
    assert columns == units or rows * units * columns <= SMALL_GEMM_MULS
    # one product, several gates, and a left factor for each gate
    for lhs, rhs in [((), ()), ((), (1,)), ((), (4,)), ((3,), (3,))]:
        h, out = integers(*lhs, batch, units), np.full((*rhs, batch, units), np.nan, np.float32)
        w = integers(*rhs, units, units)
        for factor in (w, w.swapaxes(-1, -2)):
            tiles = tiling.tile_rhs(factor)
            assert tiles.dtype == np.float32
            multiply = np.matmul if rhs else tiling.matmul
            multiply(tiling.tile_lhs(h), tiles, out=tiling.tile_out(out))
            assert (out == h @ factor).all()


@pytest.mark.parametrize(("v", "n", "chunk"), K_CHUNKS)
def test_split_k_matmul(v: int, n: int, chunk: int) -> None:
    assert k_chunk(v, n) == chunk
    for h in (64, 128, 100):
        left, right = integers(v, n), integers(3, n, h)
        out = np.full((3, v, h), np.nan, np.float32)
        partial = np.full((MAX_CHUNKS + 1, *out.shape), np.nan, np.float32)
        split_k_matmul(left, right, out, partial)
        assert (out == left @ right).all()


@pytest.mark.parametrize(("v", "n", "h", "chunk"), N_CHUNKS)
def test_split_n_matmul(v: int, n: int, h: int, chunk: int) -> None:
    assert n_chunk(v, n, h) == chunk
    w, rows, out = integers(h, v), integers(n, h), np.full((v, n), np.nan, np.float32)
    split_n_matmul(w, rows, out)
    assert (out == w.T @ rows.T).all()


def test_chunked_products_fit_small_gemm(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply, sizes = np.matmul, []

    def recording_matmul(left: Any, right: Any, out: Any) -> Any:
        sizes.append((left.shape[-2], left.shape[-1], right.shape[-1]))
        return multiply(left, right, out=out)

    monkeypatch.setattr(np, "matmul", recording_matmul)
    v, n, h = 27, 2048, 128
    partial = np.empty((MAX_CHUNKS + 1, 1, v, h))
    split_k_matmul(np.ones((v, n)), np.ones((1, n, h)), np.empty((1, v, h)), partial)
    assert all(rows * terms * columns <= SMALL_GEMM_MULS for rows, terms, columns in sizes)
    sizes.clear()
    split_n_matmul(np.ones((h, v)), np.ones((n, h)), np.empty((v, n)))
    assert all(rows * columns <= SMALL_TRANSPOSED_ELEMENTS for rows, _, columns in sizes)
