"""Block bootstrap: confidence interval of a mean over the characters of a text.

The losses of neighboring characters depend on one another, so that resampling single characters would
promise too much. Blocks of b neighbors are drawn instead, as many as the text holds, anywhere in it, the end
joined to the beginning (circular blocks: Politis and Romano 1992; blocks at all: Kuensch 1989).

The block length is chosen from the text's own autocorrelation by the rule of Politis and White (2004),
"Automatic block-length selection for the dependent bootstrap", in the corrected form of
Patton, Politis and White (2009):

    b = (2 g^2 / d)^(1/3) N^(1/3)    g = sum_k w(k/M) |k| R(k)    d = 4/3 (sum_k w(k/M) R(k))^2

R(k) is the autocovariance at distance k, w their flat-top window, 2M the distance at which it is cut off:
M is where the autocorrelation stays within noise for some distances in a row. In a long text blocks are
longer than b, 2,000 of them at most: as valid, soon drawn, and they hold what changes slowly, like the scene.
"""

from dataclasses import dataclass
from math import ceil, log10, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000  # the ends of a 95% interval are then the 50th value from either side
MAX_BLOCKS = 2000


@dataclass(frozen=True)
class Interval:
    """low, high: the ends. block: characters in a block."""

    low: float
    high: float
    block: int


def block_bootstrap_ci(values: NDArray[Any], rng: np.random.Generator, level: float = 0.95) -> Interval:
    """The interval that holds the mean of `values` (N,) in `level` of the resamples (percentile interval)."""
    x = values.astype(np.float64)
    block = max(block_length(x), ceil(x.size / MAX_BLOCKS))
    joined = np.concatenate([[0.0], np.cumsum(np.concatenate([x, x[: block - 1]]))])
    sums = joined[block:] - joined[:-block]  # of the block that begins at each character, (N,)
    drawn = rng.integers(x.size, size=(RESAMPLES, ceil(x.size / block)))
    means = sums[drawn].mean(axis=1) / block
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), block)


def block_length(x: NDArray[np.float64]) -> int:
    """The rule above; at least 1 and at most a third of the values."""
    n = x.size
    longest = max(1, n // 3)
    quiet = max(5, ceil(sqrt(log10(n)))) if n > 1 else 5  # distances in a row within noise
    furthest = min(n - 1, ceil(sqrt(n)) + quiet)
    r = autocovariance(x, furthest)
    if r[0] <= 0:
        return 1  # all the same
    noise = 2 * sqrt(log10(n) / n)
    small = np.abs(r[1:] / r[0]) < noise
    runs = np.convolve(small, np.ones(quiet), "valid") if small.size >= quiet else np.zeros(0)
    settled = np.flatnonzero(runs == quiet)
    m = int(settled[0]) if settled.size else furthest
    cut = min(2 * max(m, 1), furthest)
    k = np.arange(-cut, cut + 1)
    window = np.clip(2 * (1 - np.abs(k) / cut), 0, 1)
    weighted = window * r[np.abs(k)]
    g, d = (weighted * np.abs(k)).sum(), 4 / 3 * weighted.sum() ** 2
    if d <= 0:
        return 1
    return int(np.clip(round((2 * g**2 / d) ** (1 / 3) * n ** (1 / 3)), 1, longest))


def autocovariance(x: NDArray[np.float64], furthest: int) -> NDArray[np.float64]:
    """R(0) to R(furthest): the mean product of deviations at each distance, by the Fourier transform."""
    centered = x - x.mean()
    size = 1 << (2 * x.size - 1).bit_length()
    spectrum = np.fft.rfft(centered, size)
    full = np.fft.irfft(np.abs(spectrum) ** 2, size)
    return full[: furthest + 1] / x.size
