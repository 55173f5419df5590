"""The vanilla RNN over a whole sequence, forward and backward, side by side.

    a_t = x_t wx + h_{t-1} wh + b        h_t = tanh(a_t)        (or relu)

Elman (1990), "Finding structure in time". What does not depend on the recurrence (x_t wx + b, and every
weight gradient) is computed for all time steps at once outside these loops; inside them stand one matrix
product and two element-wise calls a step.
"""

import numpy as np

from src.rnn.parameters import Array, Layer
from src.rnn.tape import Tape


def forward_tanh(p: Layer, tape: Tape) -> None:
    """Fill tape.h[1:] from tape.h[0]; tape.gates holds x_t wx + b."""
    wh, h_before = p.wh[0], tape.h[0]
    for xw_t, h_t in zip(tape.gates[0], tape.h[1:], strict=True):
        np.matmul(h_before, wh, out=h_t)
        np.add(h_t, xw_t, out=h_t)
        np.tanh(h_t, out=h_t)
        h_before = h_t


def forward_relu(p: Layer, tape: Tape) -> None:
    """The same with h_t = max(0, a_t). (Written as a product, so that complex numbers pass too.)"""
    wh, h_before = p.wh[0], tape.h[0]
    for xw_t, h_t in zip(tape.gates[0], tape.h[1:], strict=True):
        np.matmul(h_before, wh, out=h_t)
        np.add(h_t, xw_t, out=h_t)
        np.multiply(h_t, h_t.real > 0, out=h_t)
        h_before = h_t


def backward_tanh(p: Layer, g: Layer, tape: Tape, dh: Array) -> None:
    """Backpropagation through time: with dh (T, B, H) what is above says of h_t, leave dL/da_t in
    tape.gates and dL/dwh in g.

        dL/da_t = (dL/dh_t + dL/da_{t+1} wh^T) * (1 - h_t^2)
    """
    slope = tape.kept
    np.multiply(tape.h[1:], tape.h[1:], out=slope)
    np.subtract(1, slope, out=slope)
    backward(p, g, tape, dh, slope)


def backward_relu(p: Layer, g: Layer, tape: Tape, dh: Array) -> None:
    """The same with the slope 1 where h_t > 0, else 0."""
    np.greater(tape.h[1:].real, 0, out=tape.kept, casting="unsafe")
    backward(p, g, tape, dh, tape.kept)


def backward(p: Layer, g: Layer, tape: Tape, dh: Array, slope: Array) -> None:
    wh_t = np.ascontiguousarray(p.wh[0].T)  # a product with a contiguous copy is faster than with a view
    da, carry = tape.gates[0], tape.product[0]
    carry[:] = 0
    for da_t, dh_t, slope_t in zip(da[::-1], dh[::-1], slope[::-1], strict=True):
        np.add(dh_t, carry, out=da_t)
        np.multiply(da_t, slope_t, out=da_t)
        np.matmul(da_t, wh_t, out=carry)
    units = da.shape[-1]
    np.matmul(tape.h[:-1].reshape(-1, units).T, da.reshape(-1, units), out=g.wh[0])
