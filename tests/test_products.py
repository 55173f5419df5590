"""The products in chunks are the same products."""

from typing import Any

import numpy as np
import pytest

from src.rnn.products import (
    AT_ONCE,
    SMALL_TRANSPOSED,
    chunk_of_rows,
    chunk_of_sum,
    product_with_rows,
    sum_of_products,
)
from src.rnn.tiling import SMALL


@pytest.mark.parametrize(
    ("v", "n"), [(27, 640), (27, 2048), (65, 2048), (65, 8192), (2, 20), (200, 512), (27, 256)]
)
@pytest.mark.parametrize("h", [64, 128, 100])
def test_a_sum_in_chunks_is_the_sum(v: int, n: int, h: int) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((v, n)), rng.standard_normal((3, n, h))
    out, partial = np.full((3, v, h), np.nan), np.full((AT_ONCE + 1, 3, v, h), np.nan)
    sum_of_products(left, right, out, partial)
    np.testing.assert_allclose(out, left @ right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("v", "n", "chunk"),
    [(27, 640, 128), (27, 2048, 256), (65, 2048, 128), (200, 2048, 2048), (27, 256, 128), (27, 128, 128)],
)
def test_chunks_of_a_sum(v: int, n: int, chunk: int) -> None:
    assert chunk_of_sum(v, n) == chunk


@pytest.mark.parametrize("v", [2, 27, 65, 140, 256])
@pytest.mark.parametrize(("n", "h"), [(1, 8), (640, 128), (20, 128), (100, 64), (64, 1024)])
def test_the_product_with_rows_is_the_product(v: int, n: int, h: int) -> None:
    rng = np.random.default_rng(0)
    w, rows, out = rng.standard_normal((h, v)), rng.standard_normal((n, h)), np.full((v, n), np.nan)
    product_with_rows(w, rows, out)
    np.testing.assert_allclose(out, w.T @ rows.T, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("v", "n", "h", "chunk"),
    [
        (27, 640, 128, 16),
        (75, 640, 128, 16),  # 1,200 numbers of the result
        (76, 640, 128, 8),
        (150, 640, 128, 8),
        (151, 640, 128, 640),
        (27, 24, 128, 8),
        (27, 20, 128, 20),
        (50, 640, 1250, 16),  # 10^6 multiplications
        (50, 640, 1251, 8),
    ],
)
def test_chunks_of_rows(v: int, n: int, h: int, chunk: int) -> None:
    assert chunk_of_rows(v, n, h) == chunk


def test_every_product_is_small_enough_for_blas_to_take_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply, sizes = np.matmul, []

    def watched(left: Any, right: Any, out: Any) -> Any:
        sizes.append((left.shape[-2], left.shape[-1], right.shape[-1]))
        return multiply(left, right, out=out)

    monkeypatch.setattr(np, "matmul", watched)
    v, n, h = 27, 2048, 128
    partial = np.empty((AT_ONCE + 1, 1, v, h))
    sum_of_products(np.ones((v, n)), np.ones((1, n, h)), np.empty((1, v, h)), partial)
    assert all(rows * terms * columns <= SMALL for rows, terms, columns in sizes)
    sizes.clear()
    product_with_rows(np.ones((h, v)), np.ones((n, h)), np.empty((v, n)))
    assert all(rows * columns <= SMALL_TRANSPOSED for rows, _, columns in sizes)
