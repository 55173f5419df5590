"""Every single prediction of a network on a text: what all figures of an evaluation are derived from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.lab.model.scoring import Score, Tokens, score_carried, score_reset
from src.rnn.parameters import Architecture, Array


@dataclass(frozen=True)
class Predictions:
    """Of every character of a text but the first, in its order; N of them.

    score: their summary. nats (N,): the loss of each. hits (N,): whether the character was the likeliest.
    confidence (N,): the probability of the likeliest. In float32: 9 bytes a character.
    """

    score: Score
    nats: NDArray[np.float32]
    hits: NDArray[np.bool_]
    confidence: NDArray[np.float32]


def predict_carried(architecture: Architecture, flat: Array, tokens: Tokens) -> Predictions:
    """Read the text from its start with a zero state, the state carried: as score_carried."""
    kept = Kept(tokens.size - 1)
    return kept.of(score_carried(architecture, flat, tokens, kept.take))


def predict_reset(architecture: Architecture, flat: Array, tokens: Tokens, seq_len: int) -> Predictions:
    """The same predictions, the state zero at every seq_len-th character: as score_reset."""
    kept = Kept(tokens.size - 1)
    return kept.of(score_reset(architecture, flat, tokens, seq_len, kept.take))


class Kept:
    """Takes what scoring tells of each prediction, in whatever order. count: of the predictions."""

    def __init__(self, count: int) -> None:
        self.nats = np.empty(count, np.float32)
        self.hits = np.empty(count, np.bool_)
        self.confidence = np.empty(count, np.float32)

    def take(self, where: NDArray[np.intp], log_p: Array, hits: NDArray[np.bool_], log_top: Array) -> None:
        self.nats[where] = -log_p
        self.hits[where] = hits
        self.confidence[where] = np.exp(log_top)

    def of(self, score: Score) -> Predictions:
        return Predictions(score, self.nats, self.hits, self.confidence)
