"""Training batches: (inputs, targets) one step apart, from shuffled windows or contiguous streams.

The order of the windows is a random permutation. Each part of it is computed when it is needed and never
stored, so that memory does not grow with the text. The permutation is a Feistel network over a by b cells,
with a and b just large enough for N windows, in which numbers are added where the original flips bits: the
generalized cipher of Black and Rogaway (2002), "Ciphers with arbitrary finite domains". An index x < a b is
the pair (l, r) = (x mod a, x div a), and the rounds

    l <- (l + F(key, r)) mod a        r <- (r + F(key, l)) mod b

can each be inverted, whatever F is, so together they are a permutation. After a few rounds it cannot be
distinguished from a random permutation if F cannot be distinguished from a random function (Luby and Rackoff
1988). An index that lands in one of the few cells from N on is mapped again until it does not: cycle walking,
from the same paper as the cipher. F is the finalizer of MurmurHash3 (Appleby 2011), scaled to the range by
its high bits (Lemire 2019, "Fast random integer generation in an interval", without the rejections: the bias
is below a / 2^32).
"""

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.config.schema import Config
from src.data.corpus import Corpus

Ids = NDArray[np.intp]
Tokens = NDArray[np.unsignedinteger]

BLOCK = 4096  # windows whose order is computed at once: a few microseconds per batch, not a few hundred
ROUNDS = 8  # four are proved to be enough for a perfect F; a small range needs more, its F has few values


class ShuffledWindows:
    """An endless supply of batches of windows in random order.

    A window is seq_len inputs and, one character later, seq_len targets; windows begin `stride` characters
    apart. Each epoch takes them in a new random order, which is computed and not stored, so that memory does
    not grow with the text. The windows that do not fill a batch at the end of an epoch are left out of that
    epoch.

    Args:
        tokens: Token ids of the text, uint8 or uint16, shape (N,), N > seq_len.
        seq_len: Length of a window T, in characters.
        batch_size: Windows per batch. A text with fewer windows gives smaller batches.
        stride: Distance between the starts of two windows, in characters.
        rng: Source of the order of each epoch.

    Attributes:
        batch_size: Windows per batch B, at most the number of windows.
        steps_per_epoch: Number of batches per epoch.
    """

    def __init__(
        self, tokens: Tokens, seq_len: int, batch_size: int, stride: int, rng: np.random.Generator
    ) -> None:
        self.tokens = tokens
        self.count = (tokens.size - seq_len - 1) // stride + 1
        self.batch_size = min(batch_size, self.count)
        self.steps_per_epoch = self.count // self.batch_size
        self.stride = stride
        self.offsets = np.arange(seq_len + 1)[:, None]
        self.rng = rng
        self.keys: list[int] = []  # keys of the order in this epoch; empty before the first batch
        self.position = 0  # number of windows of that order that were used
        self.block: Ids = np.arange(0)  # starts of the next windows, from `position` on

    def next(self) -> tuple[Ids, Ids, bool]:
        """Return the next batch.

        With stateful=true, every batch but the first begins with the hidden state of other windows: the
        mistake that the experiment `state` measures.

        Returns:
            Inputs and targets, int64, shape (T, B) each, and whether the hidden state must be set to zero
                before the batch, which is True only for the first batch.
        """
        fresh = not self.keys
        epoch_windows = self.steps_per_epoch * self.batch_size
        if fresh or self.position == epoch_windows:
            self.keys = draw_keys(self.rng)
            self.position = 0
        if not self.block.size:
            whole = -(-BLOCK // self.batch_size) * self.batch_size
            stop = min(self.position + whole, epoch_windows)
            self.block = permutation_slice(self.position, stop, self.count, self.keys) * self.stride
        starts, self.block = self.block[: self.batch_size], self.block[self.batch_size :]
        self.position += self.batch_size
        window = self.tokens[self.offsets + starts].astype(np.intp)
        return window[:-1], window[1:], fresh

    def state(self) -> dict[str, Any]:
        """Return the position in the text, which a checkpoint saves.

        Returns:
            `keys`, the keys of the order in this epoch, and `position`, the number of its windows that were
                used.
        """
        return {"keys": list(self.keys), "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state, so that the same batches follow.

        Args:
            state: What `state` of batches with the same text and settings returned.
        """
        self.keys, self.position = list(state["keys"]), int(state["position"])
        self.block = self.block[:0]


class ContiguousStreams:
    """An endless supply of batches from a text that is cut into contiguous streams, read in parallel.

    Each column of a batch continues where the same column of the previous batch ended, so that the hidden
    state may be carried: truncated backpropagation through time (Williams and Peng 1990). An epoch begins at
    a random one of the first seq_len characters, so that the cuts are at other places in each epoch.

    Args:
        tokens: Token ids of the text, uint8 or uint16, shape (N,), N > seq_len.
        seq_len: Length of a window T, in characters.
        batch_size: Number of streams. A text that is too short for so many gives smaller batches.
        rng: Source of the start of each epoch.

    Attributes:
        batch_size: Number of streams B, at most the number of whole windows in the text.
        steps_per_epoch: Number of batches per epoch.
    """

    def __init__(self, tokens: Tokens, seq_len: int, batch_size: int, rng: np.random.Generator) -> None:
        self.tokens, self.seq_len, self.rng = tokens, seq_len, rng
        longest = (tokens.size - 1) // seq_len
        self.batch_size = min(batch_size, longest)
        self.slack = min(seq_len - 1, tokens.size - 1 - self.batch_size * seq_len)
        self.length = (tokens.size - 1 - self.slack) // self.batch_size
        self.steps_per_epoch = self.length // seq_len
        self.offsets = np.arange(seq_len + 1)[:, None]
        self.starts = np.arange(self.batch_size) * self.length
        self.position = self.steps_per_epoch
        self.shift = 0

    def next(self) -> tuple[Ids, Ids, bool]:
        """Return the next batch.

        Returns:
            Inputs and targets, int64, shape (T, B) each, and whether the hidden state must be set to zero
                before the batch, which is True for the first batch of an epoch.
        """
        if self.position == self.steps_per_epoch:
            self.shift = int(self.rng.integers(self.slack + 1))
            self.position = 0
        begin = self.position * self.seq_len
        window = self.tokens[self.offsets + (self.starts + (self.shift + begin))].astype(np.intp)
        self.position += 1
        return window[:-1], window[1:], begin == 0

    def state(self) -> dict[str, Any]:
        """Return the position in the text, which a checkpoint saves.

        Returns:
            `shift`, the character at which this epoch begins, and `position`, the number of its batches that
                were used.
        """
        return {"shift": self.shift, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state, so that the same batches follow.

        Args:
            state: What `state` of batches with the same text and settings returned.
        """
        self.shift, self.position = int(state["shift"]), int(state["position"])


Batches = ShuffledWindows | ContiguousStreams


def build_batches(config: Config, corpus: Corpus, rng: np.random.Generator) -> Batches:
    """Build the supply of training batches that `batching` of the config names.

    Args:
        config: Validated config of the run.
        corpus: Prepared corpus; the batches use its split `train`.
        rng: Source of the order of the batches.

    Returns:
        Contiguous streams for `batching=contiguous`, else shuffled windows.
    """
    tokens = corpus.split("train")
    if config.batching == "contiguous":
        return ContiguousStreams(tokens, config.seq_len, config.batch_size, rng)
    return ShuffledWindows(tokens, config.seq_len, config.batch_size, config.data.stride, rng)


def draw_keys(rng: np.random.Generator) -> list[int]:
    """Draw the keys of a permutation, which determine it.

    Args:
        rng: Source of the randomness.

    Returns:
        One key from 0 to 2^32 - 1 for each of the ROUNDS rounds.
    """
    return [int(key) for key in rng.integers(2**32, size=ROUNDS)]


def permutation_slice(start: int, stop: int, count: int, keys: list[int]) -> Ids:
    """Compute a part of a permutation of 0..count-1.

    Args:
        start: First position of the part.
        stop: Position after its last element.
        count: Number of elements of the permutation N.
        keys: Keys of the permutation; see `draw_keys`.

    Returns:
        The elements at the positions start..stop-1, int64, shape (stop - start,).

    Examples:
        >>> keys = draw_keys(np.random.default_rng(1))
        >>> permutation_slice(0, 10, 10, keys).tolist()
        [9, 0, 7, 2, 8, 5, 3, 4, 6, 1]
        >>> permutation_slice(3, 6, 10, keys).tolist()
        [2, 8, 5]
    """
    a = isqrt(count - 1) + 1
    b = -(-count // a)
    x = np.arange(start, stop, dtype=np.uint64)
    x = _feistel(x, a, b, keys)
    outside = np.flatnonzero(x >= count)
    while outside.size:
        x[outside] = _feistel(x[outside], a, b, keys)
        outside = outside[x[outside] >= count]
    return x.astype(np.intp)


def _feistel(x: NDArray[np.uint64], a: int, b: int, keys: list[int]) -> NDArray[np.uint64]:
    """Return the numbers after all rounds; each number is mapped independently of the others."""
    r, left = np.divmod(x, np.uint64(a))
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        _round(left, r, first, a)
        _round(r, left, second, b)
    return r * np.uint64(a) + left


def _round(to: NDArray[np.uint64], other: NDArray[np.uint64], key: int, below: int) -> None:
    """Compute to <- (to + F(key, other)) mod below, in place."""
    f = other.astype(np.uint32)
    f ^= np.uint32(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        f ^= f >> np.uint32(shift)
        f *= np.uint32(factor)
    f ^= f >> np.uint32(16)
    to += (f * np.uint64(below)) >> np.uint64(32)
    to -= np.where(to >= below, np.uint64(below), np.uint64(0))
