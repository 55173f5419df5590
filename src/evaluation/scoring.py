"""Scores of a network on a text: nats, bits and perplexity per character, and accuracy.

Two contexts. `stateful`: the hidden state runs through the whole text, as when reading. `stateless`: the text
is cut into windows of seq_len and the state set to zero before each, as in training on windows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
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
Chunk = tuple[NDArray[np.intp], Array, NDArray[np.bool_], Array]  # of predictions; see `run_streams`
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


def predict_stateful(architecture: RNNConfig, params: Array, tokens: Tokens) -> Predictions:
    """Predict every character of a text but the first, statefully from a zero state.

    Args:
        architecture: The network.
        params: Its weights, (n,).
        tokens: The text, (N + 1,).
    """
    count = tokens.size - 1
    chunks = run_streams(architecture, params, tokens, np.zeros(1, np.intp), count)
    return collect("stateful", count, chunks)


def predict_stateless(architecture: RNNConfig, params: Array, tokens: Tokens, seq_len: int) -> Predictions:
    """Predict the same characters with the state set to zero at every seq_len-th one."""
    a, begins = architecture, np.arange(0, tokens.size - 1, seq_len)
    parallel = max(1, MAX_BUFFER_ELEMENTS // (seq_len * max(a.vocab, a.gates * a.hidden)))
    chunks = (
        run_streams(a, params, tokens, begins[k : k + parallel], seq_len)
        for k in range(0, begins.size, parallel)
    )
    return collect("stateless", tokens.size - 1, chain.from_iterable(chunks))


@single_blas_thread()
def collect(context: str, count: int, chunks: Iterable[Chunk]) -> Predictions:
    """Collect `count` predictions that come in chunks, and compute their mean."""
    loss, hits = np.empty(count, np.float32), np.empty(count, np.bool_)
    confidence, nats = np.empty(count, np.float32), 0.0
    for where, log_p, correct, log_top in chunks:
        loss[where], hits[where], confidence[where] = -log_p, correct, np.exp(log_top)
        nats -= float(log_p.sum(dtype=np.float64))
    return Predictions(Score(context, nats / count, int(hits.sum()) / count, count), loss, hits, confidence)


@single_blas_thread()
def validation_loss(architecture: RNNConfig, params: Array, tokens: Tokens, most: int | None = None) -> float:
    """Mean loss over `tokens` in nats, stateful: a faster approximation of `predict_stateful`.

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
        return predict_stateful(architecture, params, tokens).score.loss
    nats, count = 0.0, 0
    begins = np.arange(N_STREAMS) * part
    for _, log_p, _, _ in run_streams(architecture, params, tokens, begins, length, BURN_IN):
        nats -= float(log_p.sum(dtype=np.float64))
        count += log_p.size
    return nats / count


def run_streams(
    architecture: RNNConfig,
    params: Array,
    tokens: Tokens,
    begins: NDArray[np.intp],
    length: int,
    warm_up: int = 0,
) -> Iterator[Chunk]:
    """Let B streams predict `length` characters each.

    Memory does not depend on the length. The network's own buffers are not touched: scoring during a training
    leaves no trace.

    Args:
        architecture: The network.
        params: Its weights, (n,).
        tokens: The text; positions after its end do not count.
        begins: Positions of the first inputs, (B,).
        length: Predictions of each stream.
        warm_up: Characters that each stream reads before, which do not count. The first stream has none in
            front of it: its state is set to zero after them.

    Yields:
        The predictions of some time steps: their positions (n,), 0 for that of the text's second character;
        the log probability of each character; whether it was the likeliest; and that of the likeliest.
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
        goal, use, every = targets.reshape(-1), counted.reshape(-1), columns(targets.size)
        top = z.argmax(axis=0)
        log_p = log_softmax(z)
        yield positions[counted], log_p[goal, every][use], (top == goal)[use], log_p[top, every][use]


def all_finite(loss: float, *arrays: Array) -> bool:
    """Return whether a loss in nats, its perplexity and the weights are finite."""
    return loss < MAX_FINITE_NATS and all(np.isfinite(array).all() for array in arrays)
