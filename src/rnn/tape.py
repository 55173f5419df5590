"""What a layer's forward pass leaves behind for its backward pass, allocated once for a shape (T, B)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.rnn.parameters import Architecture, Array


@dataclass(frozen=True)
class Tape:
    """gates (G, T, B, H): first the input's contribution, then the gates' values, at last dL/dgates'
    pre-activations; a gate is one contiguous block. h (T+1, B, H): hidden states, h[0] the initial one.
    c (T+1, B, H): the LSTM's cell states, else empty. kept (T, B, H): tanh(c_t) of the LSTM, the product
    inside the reset gate of the GRU, scratch of the vanilla RNN. product (G, B, H), scratch (3, B, H).
    """

    gates: Array
    h: Array
    c: Array
    kept: Array
    product: Array
    scratch: Array

    @classmethod
    def allocate(cls, architecture: Architecture, steps: int, batch: int, dtype: Any = np.float32) -> "Tape":
        g, h = architecture.gates, architecture.hidden
        cells = steps + 1 if architecture.states == 2 else 0
        return cls(
            gates=np.empty((g, steps, batch, h), dtype),
            h=np.zeros((steps + 1, batch, h), dtype),
            c=np.zeros((cells, batch, h), dtype),
            kept=np.empty((steps, batch, h), dtype),
            product=np.empty((g, batch, h), dtype),
            scratch=np.empty((3, batch, h), dtype),
        )
