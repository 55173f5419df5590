"""Solutions of the exercises; docs/solutions.md quotes and explains them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax_cross_entropy(logits: Array, targets: Array) -> tuple[Array, float]:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(targets)), targets]).mean()
    return probabilities, loss


def cross_entropy_backward(probabilities: Array, targets: Array) -> Array:
    d_logits = probabilities.copy()
    d_logits[np.arange(len(targets)), targets] -= 1
    return d_logits / len(targets)


def rnn_backward(
    dh: Array, x: Array, h_prev: Array, h: Array, wx: Array, wh: Array
) -> tuple[Array, Array, Array, Array, Array]:
    da = dh * (1 - h**2)
    return da @ wx.T, da @ wh.T, x.T @ da, h_prev.T @ da, da.sum(axis=0)


def clip_norm(g: Array, limit: float) -> Array:
    norm = np.sqrt(g @ g)
    return g if norm <= limit else g * (limit / norm)


def lstm_backward(
    dh: Array, dc: Array, x: Array, h_prev: Array, c_prev: Array,
    o: Array, i: Array, f: Array, g: Array, c: Array, wx: Array, wh: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:  # fmt: skip
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    da = np.stack(
        [
            dh * np.tanh(c) * o * (1 - o),
            dc * g * i * (1 - i),
            dc * c_prev * f * (1 - f),
            dc * i * (1 - g**2),
        ]
    )
    dx = sum(da[k] @ wx[k].T for k in range(4))
    dh_prev = sum(da[k] @ wh[k].T for k in range(4))
    return dx, dh_prev, dc * f, x.T @ da, h_prev.T @ da, da.sum(axis=1)


def sample_token(logits: Array, temperature: float, uniform: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    e = np.exp((logits - logits.max()) / temperature)
    return int(np.argmax(np.cumsum(e / e.sum()) > uniform))
