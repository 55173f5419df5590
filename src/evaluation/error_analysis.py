"""Breakdowns of the loss, the calibration of a network's probabilities, and confidence intervals.

Breakdowns, by position in the window, by character, by position in the word: lists of groups that every
prediction belongs to exactly one of, so that the mean of the groups' losses, each weighted by its count, is
the loss of the whole.

Calibration: the predictions are sorted into 15 bins of equal width by the confidence (the probability of the
likeliest character). In a calibrated network accuracy and mean confidence are equal in every bin:

    ECE = sum_b n_b / N |accuracy_b - confidence_b|        the expected calibration error

Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"; with
15 bins in Guo et al. (2017), "On calibration of modern neural networks".

Confidence intervals are those of a block bootstrap. The losses of neighboring characters depend on one
another, so that resampling single characters would promise too much. Blocks of b neighbors are drawn instead,
as many as the text holds, anywhere in it, the end joined to the beginning (circular blocks: Politis and
Romano 1992; blocks at all: Kuensch 1989).

The block length is chosen from the text's own autocorrelation by the rule of Politis and White (2004),
"Automatic block-length selection for the dependent bootstrap", in the corrected form of
Patton, Politis and White (2009):

    b = (2 g^2 / d)^(1/3) N^(1/3)    g = sum_k w(k/M) |k| R(k)    d = 4/3 (sum_k w(k/M) R(k))^2

R(k) is the autocovariance at distance k, w their flat-top window, 2M the distance at which it is cut off:
M is where the autocorrelation stays within noise for some distances in a row. In a long text blocks are
longer than b, 2,000 of them at most: as valid, soon drawn, and they hold what changes slowly, like the scene.
"""

from dataclasses import dataclass
from math import ceil, log, log10, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.vocabulary import Vocabulary
from src.evaluation.scoring import Predictions

Tokens = NDArray[np.unsignedinteger]
MAX_WORD_LENGTH = 12  # letters of a word with a group of their own; later ones share a group
BINS = 15
RESAMPLES = 2000  # the ends of a 95% interval are then the 50th value from either side
MAX_BLOCKS = 2000


@dataclass(frozen=True)
class LossGroup:
    """name: of what its predictions share. count: how many. bpc: their mean loss in bits. accuracy: the
    share that was the likeliest."""

    name: str
    count: int
    bpc: float
    accuracy: float


def group_losses(predictions: Predictions, index: NDArray[np.intp], names: list[str]) -> list[LossGroup]:
    """The groups that have predictions, in the order of `names`; index (N,): each prediction's name."""
    sums = group_sums(index, len(names), predictions.loss, predictions.hits)
    return [LossGroup(names[k], n, nats / log(2) / n, hits / n) for k, n, nats, hits in sums]


def group_sums(
    index: NDArray[np.intp], size: int, first: NDArray[Any], second: NDArray[Any]
) -> list[tuple[int, int, float, float]]:
    """Return index, count and the sum of both values of each group that is not empty."""
    columns = [np.bincount(index, weights, size).tolist() for weights in (None, first, second)]
    return [(k, n, a, b) for k, (n, a, b) in enumerate(zip(*columns, strict=True)) if n]


def by_window_position(predictions: Predictions, seq_len: int) -> list[LossGroup]:
    """By how many characters the network has read since the state was reset, 1 to seq_len."""
    steps = max(1, seq_len)
    position = np.arange(predictions.loss.size) % steps
    return group_losses(predictions, position, [str(k) for k in range(1, steps + 1)])


def by_character(predictions: Predictions, tokens: Tokens, vocabulary: Vocabulary) -> list[LossGroup]:
    """By the character that was to be predicted. tokens (N + 1,): the text."""
    return group_losses(predictions, tokens[1:].astype(np.intp), list(vocabulary.characters))


def by_word_position(predictions: Predictions, tokens: Tokens, vocabulary: Vocabulary) -> list[LossGroup]:
    """By which letter of its word a character is; anything else (a space, a comma) is `non-letter`.

    A word is a run of letters; one that the text begins in the middle of counts from there.
    """
    letter = np.array([c.isalpha() for c in vocabulary.characters])[tokens]
    index = np.arange(tokens.size)
    before = np.maximum.accumulate(np.where(letter, -1, index))  # the last place that is no letter
    position = np.minimum(index - before, MAX_WORD_LENGTH + 1)
    names = [
        "non-letter",
        *(str(k) for k in range(1, MAX_WORD_LENGTH + 1)),
        f"{MAX_WORD_LENGTH + 1}+",
    ]
    return group_losses(predictions, position[1:], names)


@dataclass(frozen=True)
class Bin:
    """The predictions with a confidence in (low, high]: how many, their mean confidence, the share that was
    right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: NDArray[np.floating], hits: NDArray[np.bool_]) -> list[Bin]:
    """The bins that hold a prediction. confidence, hits (N,)."""
    index = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.intp) - 1, 0, BINS - 1)
    sums = group_sums(index, BINS, confidence, hits)
    return [Bin(b / BINS, (b + 1) / BINS, n, sure / n, right / n) for b, n, sure, right in sums]


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE, between 0 and 1."""
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / sum(b.count for b in bins)


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
    """The rule of this module's docstring; at least 1 and at most a third of the values."""
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
