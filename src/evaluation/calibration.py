"""Whether a network is right as often as it is sure: the reliability diagram and its summary.

The predictions are sorted into 15 bins of equal width by the confidence (the probability of the likeliest
character). In a calibrated network the share that was right equals the mean confidence in every bin:

    ECE = sum_b n_b / N |accuracy_b - confidence_b|        the expected calibration error

Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian binning"; with
15 bins in Guo et al. (2017), "On calibration of modern neural networks".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


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
