"""The vanilla RNN over a whole sequence, forward and backward, side by side.

    a_t = x_t wx + h_{t-1} wh + b        h_t = tanh(a_t)        (or relu)

Elman (1990), "Finding structure in time". What does not depend on the recurrence (x_t wx + b, and every
weight gradient) is computed for all time steps at once outside these loops; inside them stand one matrix
product and two element-wise calls a step.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from src.rnn.blocked_matmul import Tiling
from src.rnn.cache import Tape
from src.rnn.parameters import Array, Layer

CACHED = 2**17  # numbers: of so many at once the slopes are still in the cache when they are used


def forward_tanh(p: Layer, tape: Tape, inputs: Iterable[Array]) -> None:
    """Fill tape.h[1:] from tape.h[0]. inputs: for each step x_t wx + b, (1, B, H)."""
    forward(p, tape, inputs, np.tanh)


def forward_relu(p: Layer, tape: Tape, inputs: Iterable[Array]) -> None:
    """The same with h_t = max(0, a_t)."""
    forward(p, tape, inputs, relu)


def relu(a: Array, out: Array) -> None:
    """As a product, so that complex numbers pass, too."""
    np.multiply(a, a.real > 0, out=out)


def forward(p: Layer, tape: Tape, inputs: Iterable[Array], activate: Callable[..., object]) -> None:
    tiling = Tiling.of(*tape.h.shape[1:])
    multiply, wh = tiling.multiply, tiling.weights(p.wh[0])
    for (h_before, product, h_t), xw_t in zip(tape.once(forward_views, tape.h), inputs, strict=True):
        multiply(h_before, wh, out=product)
        np.add(h_t, xw_t, out=h_t)
        activate(h_t, out=h_t)


def forward_views(tape: Tape, h: Array) -> list[tuple[Array, Array, Array]]:
    """For each step h_{t-1}, where its product goes, and h_t (1, B, H)."""
    tiling = Tiling.of(*h.shape[1:])
    left, result = tiling.left(h), tiling.result(h)
    return [(left[t], result[t + 1], h[t + 1, None]) for t in range(len(h) - 1)]


def backward_tanh(p: Layer, g: Layer, tape: Tape, dh: Array) -> Array:
    """Backpropagation through time: from dh (T, B, H), what is above says of h_t, to dL/da (1, T, B, H), the
    same memory; dL/dwh goes into g.

        dL/da_t = (dL/dh_t + dL/da_{t+1} wh^T) * (1 - h_t^2)
    """
    return backward(p, g, tape, dh, slope_of_tanh)


def backward_relu(p: Layer, g: Layer, tape: Tape, dh: Array) -> Array:
    """The same with the slope 1 where h_t > 0, else 0."""
    return backward(p, g, tape, dh, slope_of_relu)


def slope_of_tanh(h: Array, out: Array) -> None:
    np.multiply(h, h, out=out)
    np.subtract(1, out, out=out)


def slope_of_relu(h: Array, out: Array) -> None:
    np.greater(h.real, 0, out=out)


def backward(p: Layer, g: Layer, tape: Tape, dh: Array, slope_of: Callable[[Array, Array], None]) -> Array:
    carry, tiling = tape.product[0], Tiling.of(*dh.shape[1:])
    multiply, wh_t = tiling.multiply, tiling.weights(p.wh[0].T)
    product, slopes = tiling.result(carry), backward_through(tape.h[1:], tape.gates[0], slope_of)
    steps = tape.once(backward_views, dh)
    np.multiply(dh[-1], next(slopes), out=dh[-1])
    for (da_after, da_t), slope_t in zip(steps, slopes, strict=True):
        multiply(da_after, wh_t, out=product)
        np.add(da_t, carry, out=da_t)
        np.multiply(da_t, slope_t, out=da_t)
    units = dh.shape[-1]
    np.matmul(tape.h[:-1].reshape(-1, units).T, dh.reshape(-1, units), out=g.wh[0])
    return dh[None]


def backward_views(tape: Tape, dh: Array) -> list[tuple[Array, Array]]:
    """For each step but the last, from the end, dL/da_{t+1} and dL/dh_t."""
    left = Tiling.of(*dh.shape[1:]).left(dh)
    return [(left[t + 1], dh[t]) for t in range(len(dh) - 2, -1, -1)]


def backward_through(h: Array, slope: Array, slope_of: Callable[[Array, Array], None]) -> Iterator[Array]:
    """The slopes of the last time step, the one before, ...; of as many at once as stay in the cache."""
    steps = max(1, CACHED // h[0].size)
    for end in range(len(h), 0, -steps):
        some = slice(max(0, end - steps), end)
        slope_of(h[some], slope[some])
        yield from slope[some][::-1]


def step_tanh(x: Array, product: Array, state: Array, bh: Array) -> None:
    """One step for sampling, in place: h_t into state (1, B, H)."""
    np.add(x, product, out=product)
    np.tanh(product, out=state[0])


def step_relu(x: Array, product: Array, state: Array, bh: Array) -> None:
    """The same with max(0, a_t)."""
    np.add(x, product, out=product)
    np.maximum(product, 0, out=state[0])


def step_back_tanh(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """dL/da_t = dL/dh_t (1 - h_t^2), and dL/dh_{t-1} = dL/da_t wh^T."""
    h = tape.h[t + 1]
    da = d * (1 - h * h)
    return da, da @ p.wh[0].T


def step_back_relu(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """dL/da_t = dL/dh_t where h_t > 0, else 0."""
    da = d * (tape.h[t + 1] > 0)
    return da, da @ p.wh[0].T
