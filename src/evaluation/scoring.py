"""Scores of a network on a text: nats, bits and perplexity per character, and accuracy.

There are two contexts. `stateful`: the hidden state is kept through the whole text, as in reading.
`stateless`: the text is cut into windows of seq_len characters and the hidden state is set to zero before
each, as in training on windows.
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
from src.rnn.network import Buffers, Ids, forward, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten

MAX_FINITE_NATS = log(float_info.max)  # nats; the perplexity of a larger loss exceeds a double

Tokens = NDArray[np.unsignedinteger]
Chunk = tuple[Ids, Array, NDArray[np.bool_], Array]  # some predictions; see `_run_streams`
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
        accuracy: Share of predictions in which the correct character was the most probable one, 0 to 1.
        characters: Number of predictions.
    """

    context: str
    loss: float
    accuracy: float
    characters: int

    @property
    def bpc(self) -> float:
        """Bits per character: the loss in nats divided by ln 2."""
        return self.loss / log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite if it exceeds a double."""
        return exp(self.loss) if self.loss < MAX_FINITE_NATS else inf


@dataclass(frozen=True)
class Predictions:
    """Every prediction of a text of N + 1 characters, in the order of the text; 9 bytes per character.

    Attributes:
        score: Mean of the predictions.
        loss: Loss of each prediction in nats, float32, shape (N,).
        hits: Whether the correct character was the most probable one, bool, shape (N,).
        confidence: Probability of the most probable character, float32, shape (N,).
    """

    score: Score
    loss: NDArray[np.float32]
    hits: NDArray[np.bool_]
    confidence: NDArray[np.float32]


def predict_stateful(architecture: RNNConfig, params: Array, tokens: Tokens) -> Predictions:
    """Predict every character of a text except the first, statefully from a zero state.

    Args:
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        tokens: Token ids of the text, shape (N + 1,), N >= 1.

    Returns:
        The N predictions, with context `stateful`.
    """
    count = tokens.size - 1
    chunks = _run_streams(architecture, params, tokens, np.zeros(1, np.intp), count)
    return _collect("stateful", count, chunks)


def predict_stateless(architecture: RNNConfig, params: Array, tokens: Tokens, seq_len: int) -> Predictions:
    """Predict every character of a text except the first, with a zero state every `seq_len` characters.

    Several windows are read in parallel, as many as the largest buffer allows (MAX_BUFFER_ELEMENTS).

    Args:
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        tokens: Token ids of the text, shape (N + 1,), N >= 1.
        seq_len: Length of a window in characters.

    Returns:
        The N predictions, with context `stateless`.
    """
    a, begins = architecture, np.arange(0, tokens.size - 1, seq_len)
    parallel = max(1, MAX_BUFFER_ELEMENTS // (seq_len * max(a.vocab, a.gates * a.hidden)))
    chunks = (
        _run_streams(a, params, tokens, begins[k : k + parallel], seq_len)
        for k in range(0, begins.size, parallel)
    )
    return _collect("stateless", tokens.size - 1, chain.from_iterable(chunks))


@single_blas_thread()
def _collect(context: str, count: int, chunks: Iterable[Chunk]) -> Predictions:
    """Return the N predictions in the order of the text, with their mean, computed in float64.

    The chunks come in any order; every position from 0 to N - 1 occurs once.
    """
    loss, hits = np.empty(count, np.float32), np.empty(count, np.bool_)
    confidence, nats = np.empty(count, np.float32), 0.0
    for where, log_p, correct, log_top in chunks:
        loss[where], hits[where], confidence[where] = -log_p, correct, np.exp(log_top)
        nats -= float(log_p.sum(dtype=np.float64))
    return Predictions(Score(context, nats / count, int(hits.sum()) / count, count), loss, hits, confidence)


@single_blas_thread()
def validation_loss(architecture: RNNConfig, params: Array, tokens: Tokens, most: int | None = None) -> float:
    """Compute the mean loss of a text, stateful: a faster approximation of `predict_stateful`.

    The text is read as 32 parallel streams. Each reads the 64 characters before its part first (the burn-in),
    after which the initial state has no noticeable effect: a network that is trained on windows of 20
    characters depends little on earlier text. A test checks that the two losses differ by at most 0.5%. A
    text with parts shorter than the burn-in is read by `predict_stateful`.

    Args:
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        tokens: Token ids of the text, shape (N + 1,), N >= 1.
        most: Largest number of predictions (rounded up to a multiple of 32), from the beginning of each part;
            None for all.

    Returns:
        Loss in nats per character.
    """
    predictions = tokens.size - 1
    part = -(-predictions // N_STREAMS)
    length = part if most is None else min(part, -(-most // N_STREAMS))
    if part < BURN_IN:  # a short text takes little time: read it as one stream
        return predict_stateful(architecture, params, tokens).score.loss
    nats, count = 0.0, 0
    begins = np.arange(N_STREAMS) * part
    for _, log_p, _, _ in _run_streams(architecture, params, tokens, begins, length, BURN_IN):
        nats -= float(log_p.sum(dtype=np.float64))
        count += log_p.size
    return nats / count


def _run_streams(
    architecture: RNNConfig, params: Array, tokens: Tokens, begins: Ids, length: int, warm_up: int = 0
) -> Iterator[Chunk]:
    """Yield the predictions of B streams, each of `length` characters, in chunks of up to 128 time steps.

    Each stream begins at one of `begins`, after `warm_up` characters for which no predictions are yielded.
    The first stream has no characters before it, so its state is set to zero after the warm-up. Predictions
    after the end of the text are not yielded. Memory does not depend on the length, and the buffers are its
    own, so that scoring during training does not affect the training.

    A chunk has four arrays of shape (n,): the positions of the predictions (0 is that of the second
    character), the log-probability in nats of the correct character, whether it was the most probable one,
    and the log-probability of the most probable one.
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
    """Return whether a loss, its perplexity and all arrays are finite.

    Args:
        loss: Loss in nats per character.
        *arrays: Weights, of any shape.

    Returns:
        False if the perplexity of `loss` exceeds a double, or if a number is infinite or NaN.
    """
    return loss < MAX_FINITE_NATS and all(np.isfinite(array).all() for array in arrays)
