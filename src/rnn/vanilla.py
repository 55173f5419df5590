"""Vanilla RNN: forward and backward pass over a sequence, and single steps.

    a_t = x_t wx + h_{t-1} wh + b        h_t = tanh(a_t)        (or relu)

Elman (1990), "Finding structure in time". Everything that does not depend on the recurrence (the input
projection and every weight gradient) is computed for all time steps in one call, outside the loops. Each
iteration of the forward loop is one matrix product and two element-wise calls.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from src.rnn.blocked_matmul import Tiling
from src.rnn.cache import LayerCache
from src.rnn.cells import Cell
from src.rnn.parameters import Array, Layer

CACHE_ELEMENTS = 2**17  # derivatives computed at once: few enough to be in the CPU cache when they are used

Activation = Callable[..., object]  # a ufunc or a function (a, out)
ActivationGrad = Callable[[Array, Array], None]  # writes the derivative at h = f(a) to the second array


def relu(a: Array, out: Array) -> None:
    """Compute max(0, a) as a product, so that complex numbers are supported, which the gradient check uses.

    Args:
        a: Pre-activations of any shape, real or complex. The sign is that of the real part.
        out: Array of the same shape for the result; it may be `a` itself.
    """
    np.multiply(a, a.real > 0, out=out)


def tanh_grad(h: Array, out: Array) -> None:
    """Compute the derivative of tanh, 1 - h^2.

    Args:
        h: Activations h = tanh(a), any shape.
        out: Array of the same shape for the derivative.
    """
    np.multiply(h, h, out=out)
    np.subtract(1, out, out=out)


def relu_grad(h: Array, out: Array) -> None:
    """Compute the derivative of relu: 1 where h > 0, else 0.

    Args:
        h: Activations h = relu(a), any shape.
        out: Array of the same shape for the derivative.
    """
    np.greater(h.real, 0, out=out)


def forward(p: Layer, cache: LayerCache, inputs: Iterable[Array], activation: Activation) -> None:
    """Compute the hidden states of a sequence: fill cache.h[1:] from the initial state cache.h[0].

        h_t = f(x_t wx + h_{t-1} wh + b)        f = tanh or relu

    Args:
        p: Parameters of the layer.
        cache: Activation cache for T time steps and B sequences.
        inputs: Input projection x_t wx + b of each time step, T arrays of shape (1, B, H).
        activation: The function f: np.tanh or `relu`.
    """
    tiling = Tiling.for_shape(*cache.h.shape[1:])
    matmul, wh = tiling.matmul, tiling.tile_rhs(p.wh[0])
    steps = cache.cached_views(_forward_views, cache.h)
    for (h_before, product, h_t), xw_t in zip(steps, inputs, strict=True):
        matmul(h_before, wh, out=product)
        np.add(h_t, xw_t, out=h_t)
        activation(h_t, out=h_t)


def _forward_views(cache: LayerCache, h: Array) -> list[tuple[Array, Array, Array]]:
    """Return for each time step: the tiles of h_{t-1}, the tiles of h_t as output, and h_t, (1, B, H)."""
    tiling = Tiling.for_shape(*h.shape[1:])
    left, result = tiling.tile_lhs(h), tiling.tile_out(h)
    return [(left[t], result[t + 1], h[t + 1, None]) for t in range(len(h) - 1)]


def backward(p: Layer, g: Layer, cache: LayerCache, dh: Array, activation_grad: ActivationGrad) -> Array:
    """Backpropagate through time.

        dL/da_t = (dL/dh_t + dL/da_{t+1} wh^T) * (1 - h_t^2)

    This is the equation for tanh; for relu the last factor is 1 where h_t > 0, else 0.

    Args:
        p: Parameters of the layer.
        g: Gradient of the layer; dL/dwh is written into it.
        cache: Activation cache that `forward` filled; its gates are overwritten.
        dh: Upstream gradient dL/dh_t, shape (T, B, H), overwritten.
        activation_grad: `tanh_grad` or `relu_grad`.

    Returns:
        Gradient dL/da of the pre-activations, shape (1, T, B, H), a view of `dh`.
    """
    carry, tiling = cache.product[0], Tiling.for_shape(*dh.shape[1:])
    matmul, wh_t = tiling.matmul, tiling.tile_rhs(p.wh[0].T)
    product, slopes = tiling.tile_out(carry), _reversed_grads(cache.h[1:], cache.gates[0], activation_grad)
    steps = cache.cached_views(_backward_views, dh)
    np.multiply(dh[-1], next(slopes), out=dh[-1])
    for (da_after, da_t), slope_t in zip(steps, slopes, strict=True):
        matmul(da_after, wh_t, out=product)
        np.add(da_t, carry, out=da_t)
        np.multiply(da_t, slope_t, out=da_t)
    units = dh.shape[-1]
    np.matmul(cache.h[:-1].reshape(-1, units).T, dh.reshape(-1, units), out=g.wh[0])
    return dh[None]


def _backward_views(cache: LayerCache, dh: Array) -> list[tuple[Array, Array]]:
    """Return for each step but the last, in reverse order: the tiles of dL/da_{t+1}, and dL/dh_t."""
    left = Tiling.for_shape(*dh.shape[1:]).tile_lhs(dh)
    return [(left[t + 1], dh[t]) for t in range(len(dh) - 2, -1, -1)]


def _reversed_grads(h: Array, out: Array, activation_grad: ActivationGrad) -> Iterator[Array]:
    """Yield the derivatives f'(a_t), shape (B, H), from the last time step to the first, as views of `out`.

    They are computed in chunks of at most CACHE_ELEMENTS numbers, which stay in the CPU cache.
    """
    steps = max(1, CACHE_ELEMENTS // h[0].size)
    for end in range(len(h), 0, -steps):
        some = slice(max(0, end - steps), end)
        activation_grad(h[some], out[some])
        yield from out[some][::-1]


def step(x: Array, product: Array, state: Array, bh: Array, activation: Activation) -> None:
    """Compute one time step in place, for sampling.

    Args:
        x: Input projection x_t wx + b, shape (B, H).
        product: Recurrent product h_{t-1} wh, shape (B, H), overwritten.
        state: Hidden state h_{t-1}, shape (1, B, H), overwritten by h_t.
        bh: Unused; the interface of `Cell.step` has it for the GRU.
        activation: np.tanh, or relu for real numbers.
    """
    np.add(x, product, out=product)
    activation(product, out=state[0])


def backward_step(
    p: Layer, cache: LayerCache, t: int, d: Array, activation_grad: ActivationGrad
) -> tuple[Array, Array]:
    """Backpropagate one time step.

        dL/da_t = dL/dh_t f'(a_t)        dL/dh_{t-1} = dL/da_t wh^T

    Args:
        p: Parameters of the layer.
        cache: Activation cache that `forward` filled.
        t: Time step, counted from 0.
        d: Gradient dL/dh_t, shape (1, B, H).
        activation_grad: `tanh_grad` or `relu_grad`, which computes f'.

    Returns:
        dL/da_t and dL/dh_{t-1}, shape (1, B, H) each.
    """
    slope = np.empty_like(d[0])
    activation_grad(cache.h[t + 1], slope)
    da = d * slope
    return da, da @ p.wh[0].T


TANH = Cell(
    gates="n",
    forward=partial(forward, activation=np.tanh),
    backward=partial(backward, activation_grad=tanh_grad),
    step=partial(step, activation=np.tanh),
    backward_step=partial(backward_step, activation_grad=tanh_grad),
)
RELU = Cell(
    gates="n",
    forward=partial(forward, activation=relu),
    backward=partial(backward, activation_grad=relu_grad),
    step=partial(step, activation=partial(np.maximum, 0)),
    backward_step=partial(backward_step, activation_grad=relu_grad),
)
