"""The gated recurrent unit over a whole sequence, forward and backward, side by side.

    r_t = sigma(x_t wx_r + h_{t-1} wh_r + b_r)                reset gate
    z_t = sigma(x_t wx_z + h_{t-1} wh_z + b_z)                update gate
    q_t = h_{t-1} wh_n + bh
    n_t = tanh(x_t wx_n + b_n + r_t * q_t)                    candidate
    h_t = (1 - z_t) * n_t + z_t * h_{t-1} = n_t + z_t * (h_{t-1} - n_t)

Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder", in the form of torch.nn.GRU:
the reset gate inside the candidate's recurrent product, which is therefore one product for all gates.
The gates stand in the order r, z, n. sigma(a) = (1 + tanh(a / 2)) / 2, the halves folded into the weights.
"""

from collections.abc import Iterable

import numpy as np

from src.rnn.blocked_matmul import Tiling
from src.rnn.cache import Tape
from src.rnn.cell_spec import KINDS
from src.rnn.parameters import Array, Layer

SIGMOIDS = KINDS["gru"].sigmoids


def forward(p: Layer, tape: Tape, inputs: Iterable[Array]) -> None:
    """Fill tape.h[1:] and tape.blocks (the gates, and q) from h[0].

    inputs: for each step x_t wx + b, (3, B, H), already halved for the sigmoid gates.
    """
    tiling = Tiling.of(*tape.h.shape[1:])
    wh = p.wh.copy()
    wh[:SIGMOIDS] *= 0.5
    wh, product, left = tiling.weights(wh), tape.product, tiling.left(tape.h)
    tiles = tiling.result(product)
    of_sigmoids, of_q = product[:SIGMOIDS], product[SIGMOIDS]
    steps = tape.once(views, tape.h)
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


def views(tape: Tape, h: Array) -> list[tuple[Array, tuple[Array, ...], Array, Array]]:
    """For each step the sigmoids; r, z, n and q; h_{t-1} and h_t."""
    blocks = tape.blocks.swapaxes(0, 1)
    return [(b[:SIGMOIDS], tuple(b), h[t], h[t + 1]) for t, b in enumerate(blocks)]


def backward(p: Layer, grad: Layer, tape: Tape, dh: Array) -> Array:
    """From dh (T, B, H), what is above says of h_t (overwritten), to dL/da_t of the three gates, tape.gates;
    dL/dwh and dL/dbh go into grad. With e_t = r_t q_t and d_t = z_t (h_{t-1} - n_t) = h_t - n_t:

        dL/da_z = dL/dh_t (h_{t-1} - n) z (1 - z)     = dL/dh (d - d z)
        dL/da_n = dL/dh_t (1 - z) (1 - n^2)           = (dL/dh - dL/dh z) (1 - n^2)
        dL/da_r = dL/da_n q r (1 - r)                 = dL/da_n (e - e r)
        dL/dq   = dL/da_n r
        dL/dh_{t-1} = dL/dh_t z + dL/da_r wh_r^T + dL/da_z wh_z^T + dL/dq wh_n^T
    """
    tiling = Tiling.of(*dh.shape[1:])
    wh_t, product = tiling.weights(p.wh.transpose(0, 2, 1)), tape.product
    tiles = tiling.result(product)
    factors, e_d, (slope, carry) = tape.scratch[:2], tape.scratch[2:4], tape.scratch[4:]
    carry[...] = 0
    product[...] = 0
    steps = tape.once(views, tape.h)
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
        np.multiply(dh_t, z, out=carry)  # what flows straight through
        np.multiply(dh_t, factors[1], out=z)
        np.subtract(dh_t, carry, out=n)
        np.multiply(n, slope, out=n)
        np.multiply(n, r, out=q)
        np.multiply(n, factors[0], out=r)
        if t:
            np.matmul(tiling.left(sigmoids), wh_t[:SIGMOIDS], out=tiles[:SIGMOIDS])
            np.matmul(tiling.left(q), wh_t[SIGMOIDS], out=tiles[SIGMOIDS])
    units = dh.shape[-1]
    da, dq = tape.gates.reshape(3, -1, units), tape.kept.reshape(-1, units)
    h_before = tape.h[:-1].reshape(-1, units).T
    np.matmul(h_before, da[:SIGMOIDS], out=grad.wh[:SIGMOIDS])
    np.matmul(h_before, dq, out=grad.wh[2])
    dq.sum(axis=0, out=grad.bh)
    return tape.gates


def step(x: Array, product: Array, state: Array, bh: Array) -> None:
    """One step for sampling, in place: h_t into state (1, B, H)."""
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


def step_back(p: Layer, tape: Tape, t: int, d: Array) -> tuple[Array, Array]:
    """The derivation of `backward` at one step: dL/da_t of the three gates, and dL/dh_{t-1}."""
    (dh,), (r, z, n, q) = d, tape.blocks[:, t]
    dn = dh * (1 - z) * (1 - n * n)
    da = np.stack([dn * q * r * (1 - r), dh * (tape.h[t] - n) * z * (1 - z), dn])
    before = dh * z + da[0] @ p.wh[0].T + da[1] @ p.wh[1].T + (dn * r) @ p.wh[2].T
    return da, before[None]
