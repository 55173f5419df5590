"""Scores of a network on a text: nats, bits and perplexity per character, and accuracy.

Two contexts. `stateful`: the hidden state runs through the whole text, as when reading. `stateless`: the text
is cut into windows of seq_len and the state set to zero before each, as in training on windows.
"""

from dataclasses import dataclass
from math import exp, inf, log
from sys import float_info

import numpy as np
from numpy.typing import NDArray

from src.common.process import single_blas_thread
from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, forward, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten

MAX_FINITE_NATS = log(float_info.max)  # nats, of which the perplexity is still a number

Tokens = NDArray[np.unsignedinteger]
CHUNK = 128  # time steps at once: enough for one large output product, small enough for the cache
N_STREAMS = 32  # parallel streams of a quick validation
BURN_IN = 64  # characters that a stream reads before the first that counts
MAX_BUFFER_ELEMENTS = 2**21  # numbers in the largest buffer when windows are read in parallel: 8 MB


@dataclass(frozen=True)
class Score:
    """Mean score of predictions.

    Attributes:
        context: `stateful` or `stateless`.
        loss: Mean loss in nats per character.
        accuracy: Share of characters that were the likeliest.
        characters: Number of predictions.
    """

    context: str
    loss: float
    accuracy: float
    characters: int

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.loss / log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that exceeds a double."""
        return exp(self.loss) if self.loss < MAX_FINITE_NATS else inf


@dataclass(frozen=True)
class Predictions:
    """Every prediction of a text of N + 1 characters, in the order of the text; 9 bytes a character.

    Attributes:
        score: Their mean.
        loss: The loss of each in nats, (N,).
        hits: Whether the character was the likeliest, (N,).
        confidence: The probability of the most likely character, (N,).
    """

    score: Score
    loss: NDArray[np.float32]
    hits: NDArray[np.bool_]
    confidence: NDArray[np.float32]


class PredictionBuffer:
    """Predictions in the making. count: their number."""

    def __init__(self, count: int) -> None:
        self.loss = np.empty(count, np.float32)
        self.hits = np.empty(count, np.bool_)
        self.confidence = np.empty(count, np.float32)

    def add(self, where: NDArray[np.intp], log_p: Array, hits: NDArray[np.bool_], log_top: Array) -> None:
        """Add n predictions.

        Args:
            where: Their positions, 0 for that of the text's second character, (n,).
            log_p: Log probability of each target, (n,).
            hits: Whether it was the likeliest, (n,).
            log_top: Log probability of the likeliest, (n,).
        """
        self.loss[where] = -log_p
        self.hits[where] = hits
        self.confidence[where] = np.exp(log_top)

    def result(self, score: Score) -> Predictions:
        """Return the predictions with their mean."""
        return Predictions(score, self.loss, self.hits, self.confidence)


@dataclass
class ScoreAccumulator:
    """The sums of which a score is the mean. buffer: takes each prediction."""

    buffer: PredictionBuffer | None = None
    nats: float = 0.0
    correct: int = 0
    characters: int = 0

    def score(self, context: str) -> Score:
        """Return the mean."""
        return Score(context, self.nats / self.characters, self.correct / self.characters, self.characters)


def score_stateful(
    architecture: RNNConfig, params: Array, tokens: Tokens, buffer: PredictionBuffer | None = None
) -> Score:
    """Predict every character of a text but the first, statefully from a zero state.

    Args:
        architecture: The network.
        params: Its weights, (n,).
        tokens: The text, (N + 1,).
        buffer: Takes each prediction.
    """
    sums = ScoreAccumulator(buffer)
    run_streams(architecture, params, tokens, np.zeros(1, np.intp), tokens.size - 1, sums)
    return sums.score("stateful")


def score_stateless(
    architecture: RNNConfig,
    params: Array,
    tokens: Tokens,
    seq_len: int,
    buffer: PredictionBuffer | None = None,
) -> Score:
    """Predict the same characters with the state set to zero at every seq_len-th one."""
    sums, a = ScoreAccumulator(buffer), architecture
    parallel = max(1, MAX_BUFFER_ELEMENTS // (seq_len * max(a.vocab, a.gates * a.hidden)))
    for first in range(0, tokens.size - 1, parallel * seq_len):
        windows = min(parallel, -(-(tokens.size - 1 - first) // seq_len))
        run_streams(a, params, tokens, first + np.arange(windows) * seq_len, seq_len, sums)
    return sums.score("stateless")


def predict_stateful(architecture: RNNConfig, params: Array, tokens: Tokens) -> Predictions:
    """Return every prediction of `score_stateful`."""
    buffer = PredictionBuffer(tokens.size - 1)
    return buffer.result(score_stateful(architecture, params, tokens, buffer))


def predict_stateless(architecture: RNNConfig, params: Array, tokens: Tokens, seq_len: int) -> Predictions:
    """Return every prediction of `score_stateless`."""
    buffer = PredictionBuffer(tokens.size - 1)
    return buffer.result(score_stateless(architecture, params, tokens, seq_len, buffer))


def validation_loss(architecture: RNNConfig, params: Array, tokens: Tokens, most: int | None = None) -> float:
    """Mean loss over `tokens` in nats, stateful: a faster approximation of `score_stateful`.

    The text is read as 32 parallel streams, each after a burn-in of 64 characters in front of its part, after
    which nothing is left of the initial state. (A network trained on windows of 20 is used to forget; the
    test suite holds the two to within 0.5%.)

    Args:
        architecture: The network.
        params: Its weights, (n,).
        tokens: The text, (N + 1,).
        most: Upper bound of the predictions (rounded up to a multiple of 32), from the beginning of each
            part; None for all.
    """
    predictions = tokens.size - 1
    part = -(-predictions // N_STREAMS)
    length = part if most is None else min(part, -(-most // N_STREAMS))
    if part < BURN_IN:  # a short text costs nothing: read it in one
        return score_stateful(architecture, params, tokens).loss
    sums = ScoreAccumulator()
    run_streams(architecture, params, tokens, np.arange(N_STREAMS) * part, length, sums, BURN_IN)
    return sums.score("stateful").loss


@single_blas_thread()
def run_streams(
    architecture: RNNConfig,
    params: Array,
    tokens: Tokens,
    begins: NDArray[np.intp],
    length: int,
    sums: ScoreAccumulator,
    warm_up: int = 0,
) -> None:
    """Let B streams predict `length` characters each, and add to the sums.

    Memory does not depend on the length. The network's own buffers are not touched: scoring during a training
    leaves no trace.

    Args:
        architecture: The network.
        params: Its weights, (n,).
        tokens: The text; positions after its end do not count.
        begins: Positions of the first inputs, (B,).
        length: Predictions of each stream.
        sums: Accumulates the scores.
        warm_up: Characters that each stream reads before, which do not count. The first stream has none in
            front of it: its state is set to zero after them.
    """
    p, predictions, batch = unflatten(architecture, params), tokens.size - 1, begins.size
    state = zero_state(architecture, batch, params.dtype)
    steps = warm_up + length
    starts = sorted({*range(0, steps, CHUNK), warm_up})
    for start, stop in zip(starts, [*starts[1:], steps], strict=True):
        if start == warm_up:
            state[:, :, 0] = 0
        positions = np.arange(start - warm_up, stop - warm_up)[:, None] + begins
        counted = (positions < predictions) & (start >= warm_up)
        clipped = np.clip(positions, 0, predictions - 1)
        ids, targets = tokens[clipped].astype(np.intp), tokens[clipped + 1].astype(np.intp)
        buffers = Buffers.allocate(architecture, stop - start, batch, params.dtype)
        buffers.set_state(state)
        z = forward(p, ids, buffers)
        state = buffers.state()
        goal, use = targets.reshape(-1), counted.reshape(-1)
        hits = z.argmax(axis=0) == goal
        sums.correct += int((hits & use).sum())
        log_p = log_softmax(z)[goal, columns(goal.size)]
        if sums.buffer:
            sums.buffer.add(positions[counted], log_p[use], hits[use], z.max(axis=0)[use])
        sums.nats -= float(log_p[use].sum(dtype=np.float64))
        sums.characters += int(use.sum())


def all_finite(loss: float, *arrays: Array) -> bool:
    """Return whether a loss in nats, its perplexity and the weights are finite."""
    return loss < MAX_FINITE_NATS and all(np.isfinite(array).all() for array in arrays)
