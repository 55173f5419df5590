"""Training batches: (inputs, targets) one step apart, from shuffled windows or contiguous streams."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]


class Batches(Protocol):
    """An endless supply. steps_per_epoch: batches that make one pass over the text."""

    batch_size: int
    steps_per_epoch: int

    def next(self) -> tuple[Ids, Ids, bool]:
        """Inputs and targets, (T, B) each, and whether nothing in front of them belongs to them."""

    def state(self) -> dict[str, Any]:
        """Where in the text the next batch is, ready for JSON."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` of an equal supply said. (The generator's own state is its owner's.)"""


class Windows:
    """An endless supply of batches of windows over `tokens`.

    A window is seq_len inputs and, one step ahead, seq_len targets; windows begin `stride` characters
    apart. Each epoch takes them in a fresh random order; what does not fill a batch at the end of an
    epoch is left out of that epoch. A corpus with fewer windows than batch_size gives smaller batches.
    """

    def __init__(
        self,
        tokens: NDArray[np.unsignedinteger],
        seq_len: int,
        batch_size: int,
        stride: int,
        rng: np.random.Generator,
    ) -> None:
        self.tokens = tokens
        self.count = (tokens.size - seq_len - 1) // stride + 1
        if self.count < 1:
            raise ValueError(f"expected more than seq_len={seq_len} characters, got {tokens.size}")
        self.batch_size = min(batch_size, self.count)
        self.steps_per_epoch = self.count // self.batch_size
        self.stride = stride
        self.offsets = np.arange(seq_len + 1)[:, None]
        self.rng = rng
        self.order = np.empty(0, np.intp)
        self.drawn_with: Any = None  # the generator's state in front of the order
        self.position = 0

    def next(self) -> tuple[Ids, Ids, bool]:
        """Inputs and targets, (T, B) each. Only the first batch is fresh: with state=carry every further
        one is handed a state that belongs to other windows, which is the mistake to be shown."""
        fresh = self.order.size == 0
        if self.position + self.batch_size > self.order.size:
            self.drawn_with = self.rng.bit_generator.state
            self.order = self.rng.permutation(self.count)
            self.position = 0
        starts = self.order[self.position : self.position + self.batch_size] * self.stride
        self.position += self.batch_size
        window = self.tokens[self.offsets + starts].astype(np.intp)
        return window[:-1], window[1:], fresh

    def state(self) -> dict[str, Any]:
        return {"drawn_with": self.drawn_with, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.drawn_with, self.position = state["drawn_with"], state["position"]
        if self.drawn_with is not None:
            again = np.random.Generator(type(self.rng.bit_generator)())
            again.bit_generator.state = self.drawn_with
            self.order = again.permutation(self.count)


class Streams:
    """The text cut into batch_size contiguous streams, read side by side, seq_len characters a batch.

    Each column of a batch goes on where that column of the batch before ended, so that the hidden state
    may be carried: truncated backpropagation through time (Williams and Peng 1990). An epoch begins at a
    random one of the first seq_len characters, so that the cuts fall elsewhere each time.
    """

    def __init__(
        self, tokens: NDArray[np.unsignedinteger], seq_len: int, batch_size: int, rng: np.random.Generator
    ) -> None:
        self.tokens, self.seq_len, self.rng = tokens, seq_len, rng
        longest = (tokens.size - 1) // seq_len
        if longest < 1:
            raise ValueError(f"expected more than seq_len={seq_len} characters, got {tokens.size}")
        self.batch_size = min(batch_size, longest)
        slack = min(seq_len - 1, tokens.size - 1 - self.batch_size * seq_len)
        self.slack = max(0, slack)
        self.length = (tokens.size - 1 - self.slack) // self.batch_size
        self.steps_per_epoch = self.length // seq_len
        self.offsets = np.arange(seq_len + 1)[:, None]
        self.position = self.steps_per_epoch
        self.starts = np.empty(0, np.intp)

    def next(self) -> tuple[Ids, Ids, bool]:
        """Inputs and targets, (T, B) each; fresh at the beginning of an epoch."""
        if self.position == self.steps_per_epoch:
            shift = int(self.rng.integers(self.slack + 1))
            self.starts = shift + np.arange(self.batch_size) * self.length
            self.position = 0
        begin = self.position * self.seq_len
        window = self.tokens[self.offsets + self.starts + begin].astype(np.intp)
        self.position += 1
        return window[:-1], window[1:], begin == 0

    def state(self) -> dict[str, Any]:
        return {"starts": self.starts.tolist(), "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.starts, self.position = np.asarray(state["starts"], np.intp), state["position"]
