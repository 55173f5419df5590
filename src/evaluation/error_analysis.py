"""Breakdowns of the loss, and the calibration of a network's probabilities.

Breakdowns, by position in the window, by character, by position in the word: lists of groups that every
prediction belongs to exactly one of, so that the mean of the groups' losses, each weighted by its count, is
the loss of the whole.

Calibration: the predictions are sorted into 15 bins of equal width by the confidence (the probability of the
likeliest character). In a calibrated network accuracy and mean confidence are equal in every bin:

    ECE = sum_b n_b / N |accuracy_b - confidence_b|        the expected calibration error

Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"; with
15 bins in Guo et al. (2017), "On calibration of modern neural networks".
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from src.data.vocabulary import Vocabulary
from src.evaluation.scoring import Predictions

Tokens = NDArray[np.unsignedinteger]
MAX_WORD_LENGTH = 12  # letters of a word with a group of their own; later ones share a group
BINS = 15


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
    counts = np.bincount(index, minlength=len(names))
    bits = np.bincount(index, weights=predictions.loss, minlength=len(names)) / log(2)
    hits = np.bincount(index, weights=predictions.hits, minlength=len(names))
    return [
        LossGroup(name, int(n), float(bits[k] / n), float(hits[k] / n))
        for k, (name, n) in enumerate(zip(names, counts, strict=True))
        if n
    ]


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
    counts = np.bincount(index, minlength=BINS)
    sure = np.bincount(index, weights=confidence, minlength=BINS)
    right = np.bincount(index, weights=hits, minlength=BINS)
    return [
        Bin(b / BINS, (b + 1) / BINS, int(n), float(sure[b] / n), float(right[b] / n))
        for b, n in enumerate(counts)
        if n
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE, between 0 and 1."""
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / sum(b.count for b in bins)
