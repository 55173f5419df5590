"""Training windows: overlapping, shuffled each epoch, as (inputs, targets) one step apart."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.intp]


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
        self.position = 0

    def next(self) -> tuple[Ids, Ids]:
        """Inputs and targets, (T, B) each."""
        if self.position + self.batch_size > self.order.size:
            self.order = self.rng.permutation(self.count)
            self.position = 0
        starts = self.order[self.position : self.position + self.batch_size] * self.stride
        self.position += self.batch_size
        window = self.tokens[self.offsets + starts].astype(np.intp)
        return window[:-1], window[1:]
