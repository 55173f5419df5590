"""The products in tiles are the same products."""

import numpy as np
import pytest

from src.rnn.tiling import FEWEST_ROWS, SMALL, Tiling

SIZES = [
    (32, 128),
    (64, 256),
    (32, 512),
    (64, 512),
    (16, 96),
    (100, 100),
    (1, 128),
    (32, 7),
    (32, 1024),
    (33, 512),
]


@pytest.mark.parametrize(("batch", "units"), SIZES)
@pytest.mark.parametrize("gates", [1, 4])
def test_the_product_in_tiles_is_the_product(batch: int, units: int, gates: int) -> None:
    rng = np.random.default_rng(0)
    h, w = rng.standard_normal((batch, units)), rng.standard_normal((gates, units, units))
    tiling, out = Tiling.of(batch, units), np.full((gates, batch, units), np.nan)
    np.matmul(tiling.left(h), tiling.weights(w), out=tiling.result(out))
    np.testing.assert_allclose(out, h @ w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("batch", "units"), SIZES)
def test_one_gates_product_too(batch: int, units: int) -> None:
    rng = np.random.default_rng(0)
    h, w = rng.standard_normal((batch, units)), rng.standard_normal((units, units))
    tiling, out = Tiling.of(batch, units), np.full((batch, units), np.nan)
    tiling.multiply(tiling.left(h), tiling.weights(w), out=tiling.result(out))
    np.testing.assert_allclose(out, h @ w, rtol=1e-12, atol=1e-12)


def test_every_gate_with_a_left_factor_of_its_own() -> None:
    rng = np.random.default_rng(0)
    for batch, units in SIZES:
        a, w = rng.standard_normal((3, batch, units)), rng.standard_normal((3, units, units))
        tiling, out = Tiling.of(batch, units), np.full((3, batch, units), np.nan)
        np.matmul(tiling.left(a), tiling.weights(w), out=tiling.result(out))
        np.testing.assert_allclose(out, a @ w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("batch", "units", "rows", "columns"),
    [(32, 128, 32, 64), (32, 256, 32, 32), (32, 512, 32, 32), (64, 512, 32, 32), (16, 96, 16, 48)],
)
def test_tiles_are_small_enough_for_blas_to_take_them_as_they_are(
    batch: int, units: int, rows: int, columns: int
) -> None:
    tiling = Tiling.of(batch, units)
    assert (tiling.rows, tiling.columns) == (rows, columns)
    assert rows * units * columns <= SMALL


@pytest.mark.parametrize(
    ("batch", "units"), [(FEWEST_ROWS - 1, 128), (1, 128), (32, 7), (32, 31), (32, 1024)]
)
def test_where_tiles_bring_nothing_there_are_none(batch: int, units: int) -> None:
    tiling = Tiling.of(batch, units)
    assert (tiling.rows, tiling.columns) == (batch, units)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_the_weights_keep_their_precision_when_cut(dtype: type[np.inexact]) -> None:
    """Or each product would be taken in the higher one."""
    for batch, units in SIZES:
        assert Tiling.of(batch, units).weights(np.ones((units, units), dtype)).dtype == dtype


def test_a_transposed_matrix_is_cut_as_itself() -> None:
    w = np.random.default_rng(0).standard_normal((128, 128))
    tiling = Tiling.of(32, 128)
    assert (tiling.weights(w.T) == tiling.weights(w.T.copy())).all()
