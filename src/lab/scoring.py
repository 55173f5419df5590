"""How well a network predicts a text: nats, bits and perplexity per character, and accuracy.

The context is always said. `carried`: the hidden state runs through the whole text, as when reading.
`reset`: the text is cut into windows of seq_len and the state set to zero before each, as in training
on windows.
"""

from dataclasses import dataclass
from math import exp, inf, log
from sys import float_info

import numpy as np
from numpy.typing import NDArray

from src.rnn.loss import columns, log_softmax
from src.rnn.network import Buffers, forward, zero_state
from src.rnn.parameters import Architecture, Array, unflatten

Tokens = NDArray[np.unsignedinteger]
PIECE = 128  # time steps at once: enough for one large output product, small enough for the cache
STREAMS = 32  # parallel streams of a quick validation
WARM_UP = 64  # characters that a stream reads before the first that counts


@dataclass(frozen=True)
class Score:
    """context: `carried` or `reset`. nats: mean loss per character. accuracy: share of characters that
    were the likeliest. characters: how many predictions that is."""

    context: str
    nats: float
    accuracy: float
    characters: int

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / log(2)

    @property
    def perplexity(self) -> float:
        return exp(self.nats) if self.nats < log(float_info.max) else inf


def score_carried(architecture: Architecture, flat: Array, tokens: Tokens) -> Score:
    """Predict every character of `tokens` but the first, reading from the start with a zero state."""
    ids, targets = tokens[:-1, None].astype(np.intp), tokens[1:, None].astype(np.intp)
    counted = np.ones(targets.shape, bool)
    return summarise("carried", architecture, flat, ids, targets, counted)


def score_reset(architecture: Architecture, flat: Array, tokens: Tokens, seq_len: int) -> Score:
    """The same predictions, the state zero at every seq_len-th character."""
    ids, targets, counted = columns_of(tokens, max(1, seq_len))
    return summarise("reset", architecture, flat, ids, targets, counted)


def validation_loss(architecture: Architecture, flat: Array, tokens: Tokens) -> float:
    """Mean loss over all of `tokens` in nats, the state carried: the quick form of score_carried.

    The text is read as 32 parallel streams, each after a warm-up of 64 characters in front of its part,
    after which nothing is left of the state that it began with. (A network trained on windows of 20 is
    used to forget; the test suite holds the two to within 0.5%.)
    """
    predictions = tokens.size - 1
    length = -(-predictions // STREAMS)
    if length < WARM_UP:  # a short text costs nothing: read it in one
        return score_carried(architecture, flat, tokens).nats
    positions = np.arange(-WARM_UP, length)[:, None] + np.arange(STREAMS) * length
    counted = (positions < predictions) & (np.arange(-WARM_UP, length)[:, None] >= 0)
    clipped = np.clip(positions, 0, predictions - 1)
    ids, targets = tokens[clipped].astype(np.intp), tokens[clipped + 1].astype(np.intp)
    return summarise("carried", architecture, flat, ids, targets, counted, fresh_first=WARM_UP).nats


def columns_of(tokens: Tokens, steps: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Inputs, targets and which of them count, (steps, B), the text cut into B windows side by side."""
    predictions = tokens.size - 1
    windows = -(-predictions // steps)
    positions = np.arange(steps)[:, None] + np.arange(windows) * steps
    clipped = np.minimum(positions, predictions - 1)
    return (
        tokens[clipped].astype(np.intp),
        tokens[clipped + 1].astype(np.intp),
        positions < predictions,
    )


def summarise(
    context: str,
    architecture: Architecture,
    flat: Array,
    ids: NDArray[np.intp],
    targets: NDArray[np.intp],
    counted: NDArray[np.bool_],
    fresh_first: int = 0,
) -> Score:
    """Run the network over ids (T, B) and average over the predictions that count.

    fresh_first: the first stream has nothing in front of it, so its state is zero again after that many
    steps. The network's own buffers are not touched: scoring in the middle of training leaves no trace.
    """
    p = unflatten(architecture, flat)
    total, right, batch = 0.0, 0, ids.shape[1]
    state = zero_state(architecture, batch, flat.dtype)
    starts = sorted({*range(0, ids.shape[0], PIECE), fresh_first})
    for start, stop in zip(starts, [*starts[1:], ids.shape[0]], strict=True):
        if start == fresh_first:
            state[:, :, 0] = 0
        buffers = Buffers.allocate(architecture, stop - start, batch, flat.dtype)
        buffers.set_state(state)
        z = forward(p, ids[start:stop], buffers)
        state = buffers.state()
        goal, use = targets[start:stop].reshape(-1), counted[start:stop].reshape(-1)
        right += int(((z.argmax(axis=0) == goal) & use).sum())
        log_p = log_softmax(z)[goal, columns(goal.size)]
        total -= float(log_p[use].sum(dtype=np.float64))
    characters = int(counted.sum())
    return Score(context, total / characters, right / characters, characters)
