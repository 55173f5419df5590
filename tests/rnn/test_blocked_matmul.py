"""Tiled and chunked products equal plain products of integers, which need no rounding."""

from typing import Any

import numpy as np
import pytest

from src.rnn.blocked_matmul import (
    MAX_CHUNKS,
    MIN_TILE_ROWS,
    SMALL_GEMM_MULS,
    SMALL_TRANSPOSED_ELEMENTS,
    Tiling,
    k_chunk,
    n_chunk,
    split_k_matmul,
    split_n_matmul,
)
from src.rnn.parameters import Array

SIZES = [(32, 128), (64, 256), (32, 512), (64, 512), (16, 96), (100, 100), (1, 128), (32, 7), (32, 1024),
         (33, 512)]  # fmt: skip


def integers(*shape: int) -> Array:
    return np.random.default_rng(shape).integers(-9, 10, shape).astype(np.float64)


@pytest.mark.parametrize(("batch", "units"), SIZES)
@pytest.mark.parametrize(("lhs", "rhs"), [((), ()), ((), (1,)), ((), (4,)), ((3,), (3,))], ids=str)
def test_tiled_matmul(lhs: tuple[int, ...], rhs: tuple[int, ...], batch: int, units: int) -> None:
    """One product, several gates, and a left factor for each gate."""
    h, w = integers(*lhs, batch, units), integers(*rhs, units, units)
    tiling, out = Tiling.for_shape(batch, units), np.full((*rhs, batch, units), np.nan)
    multiply = np.matmul if rhs else tiling.matmul
    multiply(tiling.tile_lhs(h), tiling.tile_rhs(w), out=tiling.tile_out(out))
    assert (out == h @ w).all()


@pytest.mark.parametrize(
    ("batch", "units", "rows", "columns"),
    [(32, 128, 32, 64), (32, 256, 32, 32), (32, 512, 32, 32), (64, 512, 32, 32), (16, 96, 16, 48)],
)
def test_tiles_fit_small_gemm(batch: int, units: int, rows: int, columns: int) -> None:
    tiling = Tiling.for_shape(batch, units)
    assert (tiling.rows, tiling.columns) == (rows, columns)
    assert rows * units * columns <= SMALL_GEMM_MULS


@pytest.mark.parametrize(
    ("batch", "units"), [(MIN_TILE_ROWS - 1, 128), (1, 128), (32, 7), (32, 31), (32, 1024)]
)
def test_no_tiles_for_unsuitable_shapes(batch: int, units: int) -> None:
    tiling = Tiling.for_shape(batch, units)
    assert (tiling.rows, tiling.columns) == (batch, units)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_tiling_keeps_dtype(dtype: type[np.inexact]) -> None:
    """Otherwise each product would use the higher precision."""
    for batch, units in SIZES:
        assert Tiling.for_shape(batch, units).tile_rhs(np.ones((units, units), dtype)).dtype == dtype


def test_tiling_of_transposed_matrix() -> None:
    w = np.random.default_rng(0).standard_normal((128, 128))
    tiling = Tiling.for_shape(32, 128)
    assert (tiling.tile_rhs(w.T) == tiling.tile_rhs(w.T.copy())).all()


@pytest.mark.parametrize(
    ("v", "n"), [(27, 640), (27, 2048), (65, 2048), (65, 8192), (2, 20), (200, 512), (27, 256)]
)
@pytest.mark.parametrize("h", [64, 128, 100])
def test_split_k_matmul(v: int, n: int, h: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(-9, 10, (v, n)).astype(float), rng.integers(-9, 10, (3, n, h)).astype(float)
    out, partial = np.full((3, v, h), np.nan), np.full((MAX_CHUNKS + 1, 3, v, h), np.nan)
    split_k_matmul(left, right, out, partial)
    assert (out == left @ right).all()


@pytest.mark.parametrize(
    ("v", "n", "chunk"),
    [(27, 640, 128), (27, 2048, 256), (65, 2048, 128), (200, 2048, 2048), (27, 256, 128), (27, 128, 128)],
)
def test_k_chunk(v: int, n: int, chunk: int) -> None:
    assert k_chunk(v, n) == chunk


@pytest.mark.parametrize("v", [2, 27, 65, 140, 256])
@pytest.mark.parametrize(("n", "h"), [(1, 8), (640, 128), (20, 128), (100, 64), (64, 1024)])
def test_split_n_matmul(v: int, n: int, h: int) -> None:
    rng = np.random.default_rng(0)
    w, rows = rng.integers(-9, 10, (h, v)).astype(float), rng.integers(-9, 10, (n, h)).astype(float)
    out = np.full((v, n), np.nan)
    split_n_matmul(w, rows, out)
    assert (out == w.T @ rows.T).all()


@pytest.mark.parametrize(
    ("v", "n", "h", "chunk"),
    [
        (27, 640, 128, 16),
        (75, 640, 128, 16),  # 1,200 elements of the result
        (76, 640, 128, 8),
        (150, 640, 128, 8),
        (151, 640, 128, 640),
        (27, 24, 128, 8),
        (27, 20, 128, 20),
        (50, 640, 1250, 16),  # 10^6 multiplications
        (50, 640, 1251, 8),
    ],
)
def test_n_chunk(v: int, n: int, h: int, chunk: int) -> None:
    assert n_chunk(v, n, h) == chunk


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
