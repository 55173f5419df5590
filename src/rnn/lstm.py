"""Long short-term memory (LSTM): forward and backward pass over a sequence, and single steps.

    o_t = sigma(x_t wx_o + h_{t-1} wh_o + b_o)        output gate
    i_t = sigma(x_t wx_i + h_{t-1} wh_i + b_i)        input gate
    f_t = sigma(x_t wx_f + h_{t-1} wh_f + b_f)        forget gate
    g_t = tanh (x_t wx_g + h_{t-1} wh_g + b_g)        candidate
    c_t = i_t * g_t + f_t * c_{t-1}                   cell state
    h_t = o_t * tanh(c_t)                             hidden state

Hochreiter and Schmidhuber (1997), "Long short-term memory", with the forget gate of Gers, Schmidhuber and
Cummins (2000), "Learning to forget". The equations are those of torch.nn.LSTM, with the gates in the order
o, i, f, g.

sigma(a) = (1 + tanh(a / 2)) / 2, so one call of tanh computes all four gates. The factor 1/2 is included in
the recurrent weights here, and in the input projection by the network.

The blocks o, i, f, g, tanh(c) are adjacent in memory. Every factor of the backward pass has the form p - p q
or p - q r with p, q and r from these blocks, so one call computes several factors.
"""

from collections.abc import Iterable

import numpy as np

from src.rnn.blocked_matmul import Tiling
from src.rnn.cache import LayerCache
from src.rnn.cells import Cell
from src.rnn.parameters import Array, Layer

SIGMOIDS = 3


def forward(p: Layer, cache: LayerCache, inputs: Iterable[Array]) -> None:
    """Compute the states of a sequence by the equations of the module.

    Fill cache.h[1:], cache.c[1:] and cache.blocks from the initial states cache.h[0] and cache.c[0].

    Args:
        p: Parameters of the layer.
        cache: Activation cache for T time steps and B sequences.
        inputs: Input projection x_t wx + b of each time step, T arrays of shape (4, B, H), halved for the
            sigmoid gates.
    """
    tiling = Tiling.for_shape(*cache.h.shape[1:])
    wh = p.wh.copy()
    wh[:SIGMOIDS] *= 0.5
    wh, product, left = tiling.tile_rhs(wh), cache.product, tiling.tile_lhs(cache.h)
    tiles = tiling.tile_out(product)
    u, w = cache.scratch[:2]
    steps = cache.cached_views(_forward_views, cache.h)
    for h_before, (gates, sigmoids, (o, i, f, g, tanh_c), c_before, c_t, h_t), xw_t in zip(
        left[:-1], steps, inputs, strict=True
    ):
        np.matmul(h_before, wh, out=tiles)
        np.add(product, xw_t, out=product)
        np.tanh(product, out=gates)
        np.multiply(sigmoids, 0.5, out=sigmoids)
        np.add(sigmoids, 0.5, out=sigmoids)
        np.multiply(i, g, out=u)
        np.multiply(f, c_before, out=w)
        np.add(u, w, out=c_t)
        np.tanh(c_t, out=tanh_c)
        np.multiply(o, tanh_c, out=h_t)


def _forward_views(
    cache: LayerCache, h: Array
) -> list[tuple[Array, Array, tuple[Array, ...], Array, Array, Array]]:
    """Return for each time step: all gates, the sigmoid gates, the five blocks, c_{t-1}, c_t and h_t."""
    blocks, c = cache.blocks.swapaxes(0, 1), cache.c
    return [(b[:4], b[:SIGMOIDS], tuple(b), c[t], c[t + 1], h[t + 1]) for t, b in enumerate(blocks)]


def backward(p: Layer, grad: Layer, cache: LayerCache, dh: Array) -> Array:
    """Backpropagate through time.

    With u_t = i_t g_t and w_t = f_t c_{t-1} = c_t - u_t:

        dL/dc_t  = dL/dh_t o (1 - tanh^2 c_t) + f_{t+1} dL/dc_{t+1}   o (1 - tanh^2 c) = o - h tanh c
        dL/da_o  = dL/dh_t tanh(c_t) o (1 - o)                                         = dL/dh (h - h o)
        dL/da_i  = dL/dc_t g i (1 - i)                                                 = dL/dc (u - u i)
        dL/da_f  = dL/dc_t c_{t-1} f (1 - f)                                           = dL/dc (w - w f)
        dL/da_g  = dL/dc_t i (1 - g^2)                                                 = dL/dc (i - u g)
        dL/dh_{t-1} = sum over the gates of dL/da wh^T

    Args:
        p: Parameters of the layer.
        grad: Gradient of the layer; dL/dwh is written into it.
        cache: Activation cache that `forward` filled, overwritten.
        dh: Upstream gradient dL/dh_t, shape (T, B, H), overwritten.

    Returns:
        Gradient dL/da of the pre-activations, shape (4, T, B, H), the array cache.gates.
    """
    tiling = Tiling.for_shape(*dh.shape[1:])
    wh_t, product = tiling.tile_rhs(p.wh.transpose(0, 2, 1)), cache.product
    tiles, half, other_half = tiling.tile_out(product), product[:2], product[2:]
    factors, h_u_w, (dc, dc_before) = cache.scratch[:5], cache.scratch[5:8], cache.scratch[8:]
    of_gates, of_c_and_g = factors[:SIGMOIDS], factors[:2:-1]
    of_o, of_i_f_g, of_c = factors[0], factors[1:4], factors[4]
    h_u, u, w = h_u_w[:2], *h_u_w[1:]
    product[...] = 0
    dc[...] = 0
    steps = cache.cached_views(_backward_views, dh)
    for t in range(len(dh) - 1, -1, -1):
        c_t, dh_t, f, o_i, sigmoids, tanh_c_and_g, da, da_o, da_i_f_g = steps[t]
        np.multiply(o_i, tanh_c_and_g, out=h_u)
        np.subtract(c_t, u, out=w)
        np.multiply(h_u_w, sigmoids, out=of_gates)
        np.subtract(h_u_w, of_gates, out=of_gates)
        np.multiply(h_u, tanh_c_and_g, out=of_c_and_g)
        np.subtract(o_i, of_c_and_g, out=of_c_and_g)
        np.add(half, other_half, out=half)
        np.add(dh_t, half[0], out=dh_t)
        np.add(dh_t, half[1], out=dh_t)
        np.multiply(of_c, dh_t, out=of_c)
        np.add(dc, of_c, out=dc)
        np.multiply(dc, f, out=dc_before)
        np.multiply(of_o, dh_t, out=da_o)
        np.multiply(of_i_f_g, dc, out=da_i_f_g)
        dc, dc_before = dc_before, dc
        if t:
            np.matmul(tiling.tile_lhs(da), wh_t, out=tiles)
    units = dh.shape[-1]
    da = cache.gates.reshape(cache.gates.shape[0], -1, units)
    np.matmul(cache.h[:-1].reshape(-1, units).T, da, out=grad.wh)
    return cache.gates


def _backward_views(cache: LayerCache, dh: Array) -> list[tuple[Array, ...]]:
    """Return for each time step the views that the loop of `backward` names.

    The gradients dL/da of all gates, of o, and of (i, f, g) overwrite the gates.
    """
    return [
        (cache.c[t + 1], dh[t], b[2], b[:2], b[:SIGMOIDS], b[:2:-1], b[:4], b[0], b[1:4])
        for t, b in enumerate(cache.blocks.swapaxes(0, 1))
    ]


def step(x: Array, product: Array, state: Array, bh: Array) -> None:
    """Compute one time step in place, for sampling.

    Args:
        x: Input projection x_t wx + b, shape (B, 4 H), halved for the sigmoid gates.
        product: Recurrent product h_{t-1} wh, shape (B, 4 H), also halved for the sigmoid gates, overwritten.
        state: Hidden state h_{t-1} and cell state c_{t-1}, shape (2, B, H), overwritten by h_t and c_t.
        bh: Unused; the interface of `Cell.step` has it for the GRU.
    """
    (h, c), units = state, state.shape[-1]
    np.add(x, product, out=product)
    np.tanh(product, out=product)
    sigmoids = product[:, : 3 * units]
    sigmoids *= 0.5
    sigmoids += 0.5
    o, i, f = sigmoids[:, :units], sigmoids[:, units : 2 * units], sigmoids[:, 2 * units :]
    c *= f
    i *= product[:, 3 * units :]
    c += i
    np.tanh(c, out=h)
    h *= o


def backward_step(p: Layer, cache: LayerCache, t: int, d: Array) -> tuple[Array, Array]:
    """Backpropagate one time step by the equations of `backward`.

    Args:
        p: Parameters of the layer.
        cache: Activation cache that `forward` filled.
        t: Time step, counted from 0.
        d: Gradients dL/dh_t and dL/dc_t, shape (2, B, H). The part of dL/dc_t that flows through h_t is added
            to it in place.

    Returns:
        dL/da_t, shape (4, B, H), and dL/dh_{t-1} and dL/dc_{t-1}, together of shape (2, B, H).
    """
    (dh, dc), (o, i, f, g, tanh_c) = d, cache.blocks[:, t]
    dc += dh * o * (1 - tanh_c * tanh_c)
    da = np.stack(
        [dh * tanh_c * o * (1 - o), dc * g * i * (1 - i), dc * cache.c[t] * f * (1 - f), dc * i * (1 - g * g)]
    )
    return da, np.stack([np.matmul(da, p.wh.transpose(0, 2, 1)).sum(axis=0), dc * f])


LSTM = Cell(
    gates="oifg",
    n_sigmoid=SIGMOIDS,
    states=2,
    scratch=10,
    bias_one_gates="f",
    forward=forward,
    backward=backward,
    step=step,
    backward_step=backward_step,
)
