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

import numpy as np

from src.rnn.parameters import Array, Layer
from src.rnn.tape import Tape

SIGMOIDS = 2  # the first two gates


def forward(p: Layer, tape: Tape) -> None:
    """Fill tape.h[1:] from h[0].

    tape.gates holds the input's contribution, already halved for the sigmoid gates, and then the gates.
    """
    wh = p.wh.copy()
    wh[:SIGMOIDS] *= 0.5
    product, scratch, h_before = tape.product, tape.scratch[0], tape.h[0]
    for t, (h_t, q) in enumerate(zip(tape.h[1:], tape.kept, strict=True)):
        gates = tape.gates[:, t]
        sigmoids, n = gates[:SIGMOIDS], gates[2]
        np.matmul(h_before, wh, out=product)
        np.add(sigmoids, product[:SIGMOIDS], out=sigmoids)
        np.tanh(sigmoids, out=sigmoids)
        np.multiply(sigmoids, 0.5, out=sigmoids)
        np.add(sigmoids, 0.5, out=sigmoids)
        np.add(product[2], p.bh, out=q)
        np.multiply(gates[0], q, out=scratch)
        np.add(n, scratch, out=n)
        np.tanh(n, out=n)
        np.subtract(h_before, n, out=h_t)
        np.multiply(h_t, gates[1], out=h_t)
        np.add(h_t, n, out=h_t)
        h_before = h_t


def backward(p: Layer, grad: Layer, tape: Tape, dh: Array) -> None:
    """With dh (T, B, H) what is above says of h_t (overwritten), leave dL/da_t of the three gates in
    tape.gates, and dL/dwh and dL/dbh in grad.

        dL/da_z = dL/dh_t (h_{t-1} - n) z (1 - z)        dL/da_n = dL/dh_t (1 - z) (1 - n^2)
        dL/da_r = dL/da_n q r (1 - r)                    dL/dq   = dL/da_n r
        dL/dh_{t-1} = dL/dh_t z + dL/da_r wh_r^T + dL/da_z wh_z^T + dL/dq wh_n^T
    """
    wh_t = np.ascontiguousarray(p.wh.transpose(0, 2, 1))
    slope, product = tape.product, np.empty_like(tape.product)
    carry, scratch, _ = tape.scratch
    carry[:] = 0
    for t in range(dh.shape[0] - 1, -1, -1):
        gates, dh_t, q, h_before = tape.gates[:, t], dh[t], tape.kept[t], tape.h[t]
        r, z, n = gates
        np.add(dh_t, carry, out=dh_t)
        np.multiply(dh_t, z, out=carry)  # what flows straight through
        np.subtract(1, gates[:SIGMOIDS], out=slope[:SIGMOIDS])
        np.multiply(dh_t, slope[1], out=scratch)
        np.multiply(slope[:SIGMOIDS], gates[:SIGMOIDS], out=slope[:SIGMOIDS])
        np.subtract(h_before, n, out=slope[2])
        np.multiply(slope[1], slope[2], out=slope[1])
        np.multiply(slope[1], dh_t, out=z)
        np.multiply(n, n, out=slope[2])
        np.subtract(1, slope[2], out=slope[2])
        np.multiply(slope[2], scratch, out=n)
        np.multiply(slope[0], q, out=slope[0])
        np.multiply(n, r, out=q)
        np.multiply(slope[0], n, out=r)
        np.matmul(gates[:SIGMOIDS], wh_t[:SIGMOIDS], out=product[:SIGMOIDS])
        np.matmul(q, wh_t[2], out=product[2])
        np.add.reduce(product, axis=0, out=scratch)
        np.add(carry, scratch, out=carry)
    units = dh.shape[-1]
    da, dq = tape.gates.reshape(3, -1, units), tape.kept.reshape(-1, units)
    h_before = tape.h[:-1].reshape(-1, units).T
    np.matmul(h_before, da[:SIGMOIDS], out=grad.wh[:SIGMOIDS])
    np.matmul(h_before, dq, out=grad.wh[2])
    dq.sum(axis=0, out=grad.bh)
