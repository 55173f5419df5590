"""Gated recurrent unit (GRU): forward and backward pass over a sequence, and single steps.

    r_t = sigma(x_t wx_r + h_{t-1} wh_r + b_r)                reset gate
    z_t = sigma(x_t wx_z + h_{t-1} wh_z + b_z)                update gate
    q_t = h_{t-1} wh_n + bh
    n_t = tanh(x_t wx_n + b_n + r_t * q_t)                    candidate
    h_t = (1 - z_t) * n_t + z_t * h_{t-1} = n_t + z_t * (h_{t-1} - n_t)

Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", in the form of torch.nn.GRU:
the reset gate scales q, the recurrent product of the candidate, so that one matrix product serves all gates.
The gates are in the order r, z, n. sigma(a) = (1 + tanh(a / 2)) / 2, with the factor 1/2 included in the
weights.
"""

from collections.abc import Iterable

import numpy as np

from src.rnn.blocked_matmul import Tiling
from src.rnn.cache import LayerCache
from src.rnn.cells import Cell
from src.rnn.parameters import Array, Layer

SIGMOIDS = 2


def forward(p: Layer, cache: LayerCache, inputs: Iterable[Array]) -> None:
    """Compute the hidden states of a sequence by the equations of the module.

    Fill cache.h[1:] and cache.blocks (the gates, and q) from the initial state cache.h[0].

    Args:
        p: Parameters of the layer.
        cache: Activation cache for T time steps and B sequences.
        inputs: Input projection x_t wx + b of each time step, T arrays of shape (3, B, H), halved for the
            sigmoid gates.
    """
    tiling = Tiling.for_shape(*cache.h.shape[1:])
    wh = p.wh.copy()
    wh[:SIGMOIDS] *= 0.5
    wh, product, left = tiling.tile_rhs(wh), cache.product, tiling.tile_lhs(cache.h)
    tiles = tiling.tile_out(product)
    of_sigmoids, of_q = product[:SIGMOIDS], product[SIGMOIDS]
    steps = cache.cached_views(_views, cache.h)
    for left_t, (sigmoids, (r, z, n, q), h_before, h_t), xw_t in zip(left[:-1], steps, inputs, strict=True):
        np.matmul(left_t, wh, out=tiles)
        np.add(of_sigmoids, xw_t[:SIGMOIDS], out=of_sigmoids)
        np.tanh(of_sigmoids, out=sigmoids)
        np.multiply(sigmoids, 0.5, out=sigmoids)
        np.add(sigmoids, 0.5, out=sigmoids)
        np.add(of_q, p.bh, out=q)
        np.multiply(r, q, out=of_q)
        np.add(of_q, xw_t[SIGMOIDS], out=of_q)
        np.tanh(of_q, out=n)
        np.subtract(h_before, n, out=h_t)
        np.multiply(h_t, z, out=h_t)
        np.add(h_t, n, out=h_t)


def _views(cache: LayerCache, h: Array) -> list[tuple[Array, tuple[Array, ...], Array, Array]]:
    """Return for each time step: the sigmoid gates (2, B, H); r, z, n, q; h_{t-1} and h_t, each (B, H)."""
    blocks = cache.blocks.swapaxes(0, 1)
    return [(b[:SIGMOIDS], tuple(b), h[t], h[t + 1]) for t, b in enumerate(blocks)]


def backward(p: Layer, grad: Layer, cache: LayerCache, dh: Array) -> Array:
    """Backpropagate through time.

    With e_t = r_t q_t and d_t = z_t (h_{t-1} - n_t) = h_t - n_t:

        dL/da_z = dL/dh_t (h_{t-1} - n) z (1 - z)     = dL/dh (d - d z)
        dL/da_n = dL/dh_t (1 - z) (1 - n^2)           = (dL/dh - dL/dh z) (1 - n^2)
        dL/da_r = dL/da_n q r (1 - r)                 = dL/da_n (e - e r)
        dL/dq   = dL/da_n r
        dL/dh_{t-1} = dL/dh_t z + dL/da_r wh_r^T + dL/da_z wh_z^T + dL/dq wh_n^T

    Args:
        p: Parameters of the layer.
        grad: Gradient of the layer; dL/dwh and dL/dbh are written into it.
        cache: Activation cache that `forward` filled, overwritten.
        dh: Upstream gradient dL/dh_t, shape (T, B, H), overwritten.

    Returns:
        Gradient dL/da of the pre-activations, shape (3, T, B, H), the array cache.gates.
    """
    tiling = Tiling.for_shape(*dh.shape[1:])
    wh_t, product = tiling.tile_rhs(p.wh.transpose(0, 2, 1)), cache.product
    tiles = tiling.tile_out(product)
    factors, e_d, (slope, carry) = cache.scratch[:2], cache.scratch[2:4], cache.scratch[4:]
    carry[...] = 0
    product[...] = 0
    steps = cache.cached_views(_views, cache.h)
    for t in range(len(dh) - 1, -1, -1):
        (sigmoids, (r, z, n, q), _, h_t), dh_t = steps[t], dh[t]
        np.multiply(r, q, out=e_d[0])
        np.subtract(h_t, n, out=e_d[1])
        np.multiply(e_d, sigmoids, out=factors)
        np.subtract(e_d, factors, out=factors)
        np.multiply(n, n, out=slope)
        np.subtract(1, slope, out=slope)
        for part in (carry, *product):
            np.add(dh_t, part, out=dh_t)
        np.multiply(dh_t, z, out=carry)  # the path around the candidate
        np.multiply(dh_t, factors[1], out=z)
        np.subtract(dh_t, carry, out=n)
        np.multiply(n, slope, out=n)
        np.multiply(n, r, out=q)
        np.multiply(n, factors[0], out=r)
        if t:
            np.matmul(tiling.tile_lhs(sigmoids), wh_t[:SIGMOIDS], out=tiles[:SIGMOIDS])
            np.matmul(tiling.tile_lhs(q), wh_t[SIGMOIDS], out=tiles[SIGMOIDS])
    units = dh.shape[-1]
    da, dq = cache.gates.reshape(3, -1, units), cache.extra.reshape(-1, units)
    h_before = cache.h[:-1].reshape(-1, units).T
    np.matmul(h_before, da[:SIGMOIDS], out=grad.wh[:SIGMOIDS])
    np.matmul(h_before, dq, out=grad.wh[2])
    dq.sum(axis=0, out=grad.bh)
    return cache.gates


def step(x: Array, product: Array, state: Array, bh: Array) -> None:
    """Compute one time step in place, for sampling.

    Args:
        x: Input projection x_t wx + b, shape (B, 3 H), halved for the sigmoid gates.
        product: Recurrent product h_{t-1} wh, shape (B, 3 H), also halved for the sigmoid gates, overwritten.
        state: Hidden state h_{t-1}, shape (1, B, H), overwritten by h_t.
        bh: Bias inside the product of the reset gate, shape (H,).
    """
    h, units = state[0], state.shape[-1]
    q = product[:, 2 * units :]
    q += bh
    sigmoids = product[:, : 2 * units]
    sigmoids += x[:, : 2 * units]
    np.tanh(sigmoids, out=sigmoids)
    sigmoids *= 0.5
    sigmoids += 0.5
    q *= sigmoids[:, :units]
    q += x[:, 2 * units :]
    np.tanh(q, out=q)
    h -= q
    h *= sigmoids[:, units:]
    h += q


def backward_step(p: Layer, cache: LayerCache, t: int, d: Array) -> tuple[Array, Array]:
    """Backpropagate one time step by the equations of `backward`.

    Args:
        p: Parameters of the layer.
        cache: Activation cache that `forward` filled.
        t: Time step, counted from 0.
        d: Gradient dL/dh_t, shape (1, B, H).

    Returns:
        dL/da_t, shape (3, B, H), and dL/dh_{t-1}, shape (1, B, H).
    """
    (dh,), (r, z, n, q) = d, cache.blocks[:, t]
    dn = dh * (1 - z) * (1 - n * n)
    da = np.stack([dn * q * r * (1 - r), dh * (cache.h[t] - n) * z * (1 - z), dn])
    before = dh * z + da[0] @ p.wh[0].T + da[1] @ p.wh[1].T + (dn * r) @ p.wh[2].T
    return da, before[None]


GRU = Cell(
    gates="rzn",
    n_sigmoid=SIGMOIDS,
    scratch=6,
    recurrent_bias=True,
    forward=forward,
    backward=backward,
    step=step,
    backward_step=backward_step,
)
