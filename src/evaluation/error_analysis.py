"""Breakdowns of the loss, the calibration of the predicted probabilities, and confidence intervals.

A breakdown (by position in the window, by character, by position in the word) is a list of groups. Every
prediction belongs to exactly one group, so the mean of the losses of the groups, weighted by their counts, is
the loss of the whole text.

Calibration: the predictions are sorted into 15 bins of equal width by their confidence (the probability of
the most probable character). In a calibrated network, accuracy and mean confidence are equal in every bin:

    ECE = sum_b n_b / N |accuracy_b - confidence_b|        the expected calibration error

Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"; with
15 bins in Guo et al. (2017), "On calibration of modern neural networks".

Confidence intervals come from a block bootstrap. The losses of neighboring characters depend on each other,
so resampling single characters would give intervals that are too narrow. Instead, blocks of b consecutive
characters are drawn, as many as the text holds, at any position; the end of the text is joined to its
beginning (circular blocks: Politis and Romano 1992; the first block bootstrap: Kuensch 1989).

The block length follows from the autocorrelation of the losses by the rule of Politis and White (2004),
"Automatic block-length selection for the dependent bootstrap", as corrected by Patton, Politis and White
(2009):

    b = (2 g^2 / d)^(1/3) N^(1/3)    g = sum_k w(k/M) |k| R(k)    d = 4/3 (sum_k w(k/M) R(k))^2

R(k) is the autocovariance at distance k, w is their flat-top window, and 2M is the distance at which it
becomes 0: M is the distance after which the autocorrelation stays within noise for some consecutive
distances. In a long text the blocks are longer than b, so that there are at most 2,000 of them. Longer blocks
are also valid, are drawn faster, and cover slow changes, for example of the scene of a play.
"""

from dataclasses import dataclass
from math import ceil, log, log10, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.vocabulary import Vocabulary
from src.evaluation.scoring import Predictions

Tokens = NDArray[np.unsignedinteger]
MAX_WORD_LENGTH = 12  # each letter up to this position has its own group; later ones share a group
BINS = 15
RESAMPLES = 2000  # the ends of a 95% interval are then the 50th value from either side
MAX_BLOCKS = 2000


@dataclass(frozen=True)
class LossGroup:
    """Mean loss of a group of predictions.

    Attributes:
        name: What the predictions have in common, for example the character or the position in the window.
        count: Number of predictions.
        bpc: Mean loss in bits per character.
        accuracy: Share of predictions in which the correct character was the most probable one, 0 to 1.
    """

    name: str
    count: int
    bpc: float
    accuracy: float


def _group_losses(predictions: Predictions, index: NDArray[np.intp], names: list[str]) -> list[LossGroup]:
    """Return the groups that have predictions; `index` has the position in `names` of each prediction."""
    sums = _group_sums(index, len(names), predictions.loss, predictions.hits)
    return [LossGroup(names[k], n, nats / log(2) / n, hits / n) for k, n, nats, hits in sums]


def _group_sums(
    index: NDArray[np.intp], size: int, first: NDArray[Any], second: NDArray[Any]
) -> list[tuple[int, int, float, float]]:
    """Return for each group that is not empty its index, its size, and the sums of both values."""
    columns = [np.bincount(index, weights, size).tolist() for weights in (None, first, second)]
    return [(k, n, a, b) for k, (n, a, b) in enumerate(zip(*columns, strict=True)) if n]


def by_window_position(predictions: Predictions, seq_len: int) -> list[LossGroup]:
    """Break the loss down by position in the window.

    Args:
        predictions: Stateless predictions in the order of the text.
        seq_len: Length of a window in characters.

    Returns:
        Groups `1` to `seq_len`: the number of characters that the network has read since the state was set to
        zero.
    """
    steps = max(1, seq_len)
    position = np.arange(predictions.loss.size) % steps
    return _group_losses(predictions, position, [str(k) for k in range(1, steps + 1)])


def by_character(predictions: Predictions, tokens: Tokens, vocabulary: Vocabulary) -> list[LossGroup]:
    """Break the loss down by the correct character.

    Args:
        predictions: Predictions of the text in its order.
        tokens: Token ids of the text, shape (N + 1,).
        vocabulary: Vocabulary with the characters of the ids.

    Returns:
        One group for each character that was to be predicted, in the order of the vocabulary.
    """
    return _group_losses(predictions, tokens[1:].astype(np.intp), list(vocabulary.characters))


def by_word_position(predictions: Predictions, tokens: Tokens, vocabulary: Vocabulary) -> list[LossGroup]:
    """Break the loss down by the position of a character in its word.

    A word is a sequence of letters. If the text begins in the middle of a word, positions in that word are
    counted from the beginning of the text.

    Args:
        predictions: Predictions of the text in its order.
        tokens: Token ids of the text, shape (N + 1,).
        vocabulary: Vocabulary with the characters of the ids.

    Returns:
        Groups `non-letter` (spaces, punctuation, digits), `1` to `12`, and `13+` for all later letters of a
        word.
    """
    letter = np.array([c.isalpha() for c in vocabulary.characters])[tokens]
    index = np.arange(tokens.size)
    before = np.maximum.accumulate(np.where(letter, -1, index))  # the last position without a letter
    position = np.minimum(index - before, MAX_WORD_LENGTH + 1)
    names = ["non-letter", *(str(k) for k in range(1, MAX_WORD_LENGTH + 1)), f"{MAX_WORD_LENGTH + 1}+"]
    return _group_losses(predictions, position[1:], names)


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence is in (low, high].

    Attributes:
        low: Lower bound of the confidence, exclusive (the first bin includes 0).
        high: Upper bound of the confidence, inclusive.
        count: Number of predictions.
        confidence: Mean confidence, 0 to 1.
        accuracy: Share of predictions in which the correct character was the most probable one, 0 to 1.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: NDArray[np.floating], hits: NDArray[np.bool_]) -> list[Bin]:
    """Sort predictions into 15 bins of equal width by their confidence.

    Args:
        confidence: Probability of the most probable character of each prediction, shape (N,).
        hits: Whether the most probable character was the correct one, shape (N,).

    Returns:
        The bins that hold a prediction, by ascending confidence.
    """
    index = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.intp) - 1, 0, BINS - 1)
    sums = _group_sums(index, BINS, confidence, hits)
    return [Bin(b / BINS, (b + 1) / BINS, n, sure / n, right / n) for b, n, sure, right in sums]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Compute the expected calibration error (ECE) by the formula at the top of this module.

    Args:
        bins: Bins from `reliability`, at least one.

    Returns:
        ECE, 0 to 1; 0 for a calibrated network.
    """
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / sum(b.count for b in bins)


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a mean.

    Attributes:
        low: Lower end, in the unit of the values.
        high: Upper end, in the unit of the values.
        block: Length of a bootstrap block in characters.
    """

    low: float
    high: float
    block: int


def block_bootstrap_ci(values: NDArray[Any], rng: np.random.Generator, level: float = 0.95) -> Interval:
    """Compute a confidence interval of a mean by the circular block bootstrap.

    The interval is a percentile interval of 2,000 resamples.

    Args:
        values: Values in the order of the text, for example losses, shape (N,).
        rng: Generator that draws the blocks.
        level: Share of the resamples whose mean is in the interval, 0 to 1; the default gives a 95% interval.

    Returns:
        The interval in the unit of `values`, and the block length.
    """
    x = values.astype(np.float64)
    block = max(block_length(x), ceil(x.size / MAX_BLOCKS))
    joined = np.concatenate([[0.0], np.cumsum(np.concatenate([x, x[: block - 1]]))])
    sums = joined[block:] - joined[:-block]  # sum of the block that begins at each character, (N,)
    drawn = rng.integers(x.size, size=(RESAMPLES, ceil(x.size / block)))
    means = sums[drawn].mean(axis=1) / block
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), block)


def block_length(x: NDArray[np.float64]) -> int:
    """Compute the block length b by the rule at the top of this module.

    Args:
        x: Values in the order of the text, shape (N,).

    Returns:
        Number of values in a block, at least 1 and at most a third of N.
    """
    n = x.size
    longest = max(1, n // 3)
    quiet = max(5, ceil(sqrt(log10(n)))) if n > 1 else 5  # consecutive distances within noise
    furthest = min(n - 1, ceil(sqrt(n)) + quiet)
    r = autocovariance(x, furthest)
    if r[0] <= 0:
        return 1  # all values are equal
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
    """Compute the autocovariance R(0) to R(furthest), by the Fourier transform.

    Args:
        x: Values, shape (N,).
        furthest: Largest distance, < N.

    Returns:
        Sum of the products of deviations from the mean at each distance, divided by N; shape (furthest + 1,).
    """
    centered = x - x.mean()
    size = 1 << (2 * x.size - 1).bit_length()
    spectrum = np.fft.rfft(centered, size)
    full = np.fft.irfft(np.abs(spectrum) ** 2, size)
    return full[: furthest + 1] / x.size
