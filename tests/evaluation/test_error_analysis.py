"""The block bootstrap on data with known mean and correlation."""

import numpy as np
import pytest

from src.evaluation.error_analysis import MAX_BLOCKS, autocovariance, block_bootstrap_ci, block_length
from tests.rounding import DOUBLE, gamma


def correlated(rng: np.random.Generator, texts: int, n: int, phi: float) -> np.ndarray:
    """Return AR(1) series (texts, n) with mean 0."""
    noise = rng.standard_normal((n + 200, texts))
    x = np.zeros_like(noise)
    for i in range(1, len(noise)):
        x[i] = phi * x[i - 1] + noise[i]
    return x[200:].T


def test_interval_covers_mean_of_correlated_values() -> None:
    """The naive interval ignores correlation and is half as wide."""
    rng = np.random.default_rng(0)
    texts = correlated(rng, 100, 600, 0.6)
    intervals = [block_bootstrap_ci(x, rng) for x in texts]
    assert 0.87 <= np.mean([i.low <= 0 <= i.high for i in intervals]) <= 0.99
    naive = 2 * 1.96 * texts.std(axis=1).mean() / np.sqrt(600)
    assert np.mean([i.high - i.low for i in intervals]) > 1.5 * naive


def test_block_length_grows_with_correlation() -> None:
    rng = np.random.default_rng(1)
    lengths = [np.mean([block_length(x) for x in correlated(rng, 10, 2000, phi)]) for phi in (0, 0.5, 0.9)]
    assert lengths[0] < 8 < lengths[1] < 30 < lengths[2] < 150


def test_interval_of_independent_values() -> None:
    x = np.random.default_rng(2).exponential(size=4000).astype(np.float32)
    interval = block_bootstrap_ci(x, np.random.default_rng(0))
    half = 1.96 * x.std() / np.sqrt(x.size)
    # 2000 resamples: the half width has a standard error of 2.2%; the block length is estimated
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.15)
    assert (interval.high + interval.low) / 2 == pytest.approx(x.mean(), abs=half / 5)


def test_interval_is_repeatable_and_widens_with_level() -> None:
    x = np.random.default_rng(4).standard_normal(500)
    half, again, most = (block_bootstrap_ci(x, np.random.default_rng(0), p) for p in (0.5, 0.5, 0.99))
    assert half == again
    assert most.low < half.low < half.high < most.high


def test_long_text_has_long_blocks() -> None:
    x = np.random.default_rng(5).standard_normal(MAX_BLOCKS * 25)
    assert block_bootstrap_ci(x, np.random.default_rng(0)).block >= 25


@pytest.mark.parametrize("n", [1, 2, 7])
def test_interval_of_few_values(n: int) -> None:
    x = np.random.default_rng(6).standard_normal(n)
    interval = block_bootstrap_ci(x, np.random.default_rng(0))
    assert x.min() - 1e-9 <= interval.low <= interval.high <= x.max() + 1e-9


def test_interval_of_equal_values() -> None:
    interval = block_bootstrap_ci(np.full(100, 2.5), np.random.default_rng(0))
    bound = 4 * gamma(200, DOUBLE)  # cumulative sums of 200 numbers and a mean of 100
    assert interval.low == pytest.approx(2.5, rel=bound)
    assert interval.high == pytest.approx(2.5, rel=bound)


def test_autocovariance() -> None:
    x = np.random.default_rng(7).standard_normal(50)
    d = x - x.mean()
    expected = [(d[: 50 - k] * d[k:]).sum() / 50 for k in range(10)]
    bound = 2 * gamma(50, DOUBLE) * float(d @ d) / 50  # sums of 50 products on both sides
    assert autocovariance(x, 9) == pytest.approx(expected, rel=0, abs=bound)
