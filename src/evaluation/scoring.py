"""How well a network predicts a text: nats, bits and perplexity per character, and accuracy.

The context is always said. `carried`: the hidden state runs through the whole text, as when reading.
`reset`: the text is cut into windows of seq_len and the state set to zero before each, as in training
on windows.

Every single prediction of a network on a text: what all figures of an evaluation are derived from.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf, log
from sys import float_info

import numpy as np
from numpy.typing import NDArray

from src.common.blas import single_blas_thread
from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, forward, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten

MAX_FINITE_NATS = log(sys.float_info.max)  # nats, of which the perplexity is still a number

Tokens = NDArray[np.unsignedinteger]
CHUNK = 128  # time steps at once: enough for one large output product, small enough for the cache
N_STREAMS = 32  # parallel streams of a quick validation
BURN_IN = 64  # characters that a stream reads before the first that counts
MAX_BUFFER_ELEMENTS = 2**21  # numbers in the largest buffer when windows are read in parallel: 8 MB
# What is told of the predictions that count as they are made: their places in the text (0: of its second
# character), log p of the targets, whether they were the likeliest, log p of the likeliest; each (n,).
PredictionCallback = Callable[[NDArray[np.intp], Array, NDArray[np.bool_], Array], None]


@dataclass(frozen=True)
class Score:
    """context: `stateful` or `stateless`. nats: mean loss per character. accuracy: share of characters that
    were the likeliest. characters: how many predictions that is."""

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
        """exp(nats); infinite where that is no double any more."""
        return exp(self.loss) if self.loss < log(float_info.max) else inf


@dataclass
class ScoreAccumulator:
    """What a score is the mean of."""

    nats: float = 0.0
    correct: int = 0
    characters: int = 0

    def score(self, context: str) -> Score:
        return Score(context, self.nats / self.characters, self.correct / self.characters, self.characters)


def score_stateful(
    architecture: RNNConfig, flat: Array, tokens: Tokens, each: PredictionCallback | None = None
) -> Score:
    """Predict every character of `tokens` but the first, reading from the start with a zero state."""
    sums = ScoreAccumulator()
    run_streams(architecture, flat, tokens, np.zeros(1, np.intp), tokens.size - 1, sums, each=each)
    return sums.score("stateful")


def score_stateless(
    architecture: RNNConfig, flat: Array, tokens: Tokens, seq_len: int, each: PredictionCallback | None = None
) -> Score:
    """The same predictions, the state zero at every seq_len-th character."""
    sums, a = ScoreAccumulator(), architecture
    abreast = max(1, MAX_BUFFER_ELEMENTS // (seq_len * max(a.vocab, a.gates * a.hidden)))
    for first in range(0, tokens.size - 1, abreast * seq_len):
        windows = min(abreast, -(-(tokens.size - 1 - first) // seq_len))
        run_streams(a, flat, tokens, first + np.arange(windows) * seq_len, seq_len, sums, each=each)
    return sums.score("stateless")


def validation_loss(architecture: RNNConfig, flat: Array, tokens: Tokens, most: int | None = None) -> float:
    """Mean loss over `tokens` in nats, the state carried: the quick form of score_carried.

    The text is read as 32 parallel streams, each after a warm-up of 64 characters in front of its part,
    after which nothing is left of the state that it began with. (A network trained on windows of 20 is
    used to forget; the test suite holds the two to within 0.5%.) most: of a text with more predictions than
    that the streams read only so many (rounded up to a multiple of 32), each from the beginning of its part.
    """
    predictions = tokens.size - 1
    part = -(-predictions // N_STREAMS)
    length = part if most is None else min(part, -(-most // N_STREAMS))
    if part < BURN_IN:  # a short text costs nothing: read it in one
        return score_stateful(architecture, flat, tokens).loss
    sums = ScoreAccumulator()
    run_streams(architecture, flat, tokens, np.arange(N_STREAMS) * part, length, sums, BURN_IN)
    return sums.score("stateful").loss


@single_blas_thread()
def run_streams(
    architecture: RNNConfig,
    flat: Array,
    tokens: Tokens,
    begins: NDArray[np.intp],
    length: int,
    sums: ScoreAccumulator,
    warm_up: int = 0,
    each: PredictionCallback | None = None,
) -> None:
    """Let B streams predict `length` characters each, from the inputs at `begins` (B,) on; add to the sums.

    What lies behind the text's end does not count, nor do the warm_up characters that each stream reads
    before. The first stream has nothing in front of it: its state is zero again when they are over. Memory
    does not depend on the length. The network's own buffers are not touched: scoring in mid-training
    leaves no trace.
    """
    p, predictions, batch = unflatten(architecture, flat), tokens.size - 1, begins.size
    state = zero_state(architecture, batch, flat.dtype)
    steps = warm_up + length
    starts = sorted({*range(0, steps, CHUNK), warm_up})
    for start, stop in zip(starts, [*starts[1:], steps], strict=True):
        if start == warm_up:
            state[:, :, 0] = 0
        positions = np.arange(start - warm_up, stop - warm_up)[:, None] + begins
        counted = (positions < predictions) & (start >= warm_up)
        clipped = np.clip(positions, 0, predictions - 1)
        ids, targets = tokens[clipped].astype(np.intp), tokens[clipped + 1].astype(np.intp)
        buffers = Buffers.allocate(architecture, stop - start, batch, flat.dtype)
        buffers.set_state(state)
        z = forward(p, ids, buffers)
        state = buffers.state()
        goal, use = targets.reshape(-1), counted.reshape(-1)
        hits = z.argmax(axis=0) == goal
        sums.correct += int((hits & use).sum())
        log_p = log_softmax(z)[goal, columns(goal.size)]
        if each:
            each(positions[counted], log_p[use], hits[use], z.max(axis=0)[use])
        sums.nats -= float(log_p[use].sum(dtype=np.float64))
        sums.characters += int(use.sum())


def all_finite(loss: float, *arrays: Array) -> bool:
    """Whether a loss in nats, its perplexity and the weights behind it are numbers."""
    return loss < MAX_FINITE_NATS and all(np.isfinite(array).all() for array in arrays)


@dataclass(frozen=True)
class Predictions:
    """Of every character of a text but the first, in its order; N of them.

    score: their summary. nats (N,): the loss of each. hits (N,): whether the character was the likeliest.
    confidence (N,): the probability of the likeliest. In float32: 9 bytes a character.
    """

    score: Score
    loss: NDArray[np.float32]
    hits: NDArray[np.bool_]
    confidence: NDArray[np.float32]


def predict_stateful(architecture: RNNConfig, flat: Array, tokens: Tokens) -> Predictions:
    """Read the text from its start with a zero state, the state carried: as score_carried."""
    kept = PredictionBuffer(tokens.size - 1)
    return kept.result(score_stateful(architecture, flat, tokens, kept.add))


def predict_stateless(architecture: RNNConfig, flat: Array, tokens: Tokens, seq_len: int) -> Predictions:
    """The same predictions, the state zero at every seq_len-th character: as score_reset."""
    kept = PredictionBuffer(tokens.size - 1)
    return kept.result(score_stateless(architecture, flat, tokens, seq_len, kept.add))


class PredictionBuffer:
    """Takes what scoring tells of each prediction, in whatever order. count: of the predictions."""

    def __init__(self, count: int) -> None:
        self.loss = np.empty(count, np.float32)
        self.hits = np.empty(count, np.bool_)
        self.confidence = np.empty(count, np.float32)

    def add(self, where: NDArray[np.intp], log_p: Array, hits: NDArray[np.bool_], log_top: Array) -> None:
        self.loss[where] = -log_p
        self.hits[where] = hits
        self.confidence[where] = np.exp(log_top)

    def result(self, score: Score) -> Predictions:
        return Predictions(score, self.loss, self.hits, self.confidence)
