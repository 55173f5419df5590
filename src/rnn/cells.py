"""The recurrence of the vanilla RNN over a whole sequence, forward and backward, side by side.

    a_t = wx[x_t] + h_{t-1} wh + b        h_t = tanh(a_t)

Elman (1990), "Finding structure in time". What does not depend on the recurrence (the look-up of
wx[x_t] + b, and every weight gradient) is computed for all time steps at once outside these loops;
inside them stand one matrix product and two element-wise calls a step.
"""

import numpy as np

from src.rnn.parameters import Array


def forward(xw: Array, wh: Array, h: Array) -> None:
    """Fill h[1:] from h[0].

    xw (T, B, H): wx[x_t] + b. wh (H, H). h (T+1, B, H): h[0] is the initial state, given.
    """
    for xw_t, h_before, h_t in zip(xw, h, h[1:], strict=False):
        np.matmul(h_before, wh, out=h_t)
        h_t += xw_t
        np.tanh(h_t, out=h_t)


def backward(dh: Array, wh: Array, h: Array, slope: Array) -> Array:
    """Backpropagation through time: turn dL/dh_t from above into dL/da_t, in place.

        dL/da_t = (dL/dh_t + dL/da_{t+1} wh^T) * (1 - h_t^2)

    dh (T, B, H): on entry what the logits at time t say of h_t, on return dL/da_t. slope (T, B, H):
    scratch. Returns dL/dh_0, shape (B, H).
    """
    np.multiply(h[1:], h[1:], out=slope)
    np.subtract(1, slope, out=slope)
    wh_t = np.ascontiguousarray(wh.T)  # a product with a contiguous copy is faster than with a view
    through_time: Array = np.zeros_like(h[0])
    for da_t, slope_t in zip(dh[::-1], slope[::-1], strict=True):
        da_t += through_time
        da_t *= slope_t
        np.matmul(da_t, wh_t, out=through_time)
    return through_time
