"""The long short-term memory over a whole sequence, forward and backward, side by side.

    i_t = sigma(x_t wx_i + h_{t-1} wh_i + b_i)        input gate
    f_t = sigma(x_t wx_f + h_{t-1} wh_f + b_f)        forget gate
    o_t = sigma(x_t wx_o + h_{t-1} wh_o + b_o)        output gate
    g_t = tanh (x_t wx_g + h_{t-1} wh_g + b_g)        candidate
    c_t = f_t * c_{t-1} + i_t * g_t                   cell state
    h_t = o_t * tanh(c_t)                             hidden state

Hochreiter and Schmidhuber (1997), "Long short-term memory", with the forget gate of Gers, Schmidhuber and
Cummins (2000), "Learning to forget"; the equations of torch.nn.LSTM, the gates in the order i, f, o, g.

sigma(a) = (1 + tanh(a / 2)) / 2, so that one call of tanh does all four gates; the halves are folded into
the weights (and, by the network, into the input's contribution).
"""

import numpy as np

from src.rnn.parameters import Array, Layer
from src.rnn.tape import Tape

SIGMOIDS = 3  # the first three gates


def forward(p: Layer, tape: Tape) -> None:
    """Fill tape.h[1:] and tape.c[1:] from h[0] and c[0].

    tape.gates holds the input's contribution, already halved for the sigmoid gates, and then the gates.
    """
    wh = p.wh.copy()
    wh[:SIGMOIDS] *= 0.5
    product, scratch = tape.product, tape.scratch[0]
    h_before, c_before = tape.h[0], tape.c[0]
    for t, (h_t, c_t, tanh_c) in enumerate(zip(tape.h[1:], tape.c[1:], tape.kept, strict=True)):
        gates = tape.gates[:, t]
        np.matmul(h_before, wh, out=product)
        np.add(product, gates, out=product)
        np.tanh(product, out=gates)
        sigmoids = gates[:SIGMOIDS]
        np.multiply(sigmoids, 0.5, out=sigmoids)
        np.add(sigmoids, 0.5, out=sigmoids)
        i, f, o, g = gates
        np.multiply(f, c_before, out=c_t)
        np.multiply(i, g, out=scratch)
        np.add(c_t, scratch, out=c_t)
        np.tanh(c_t, out=tanh_c)
        np.multiply(o, tanh_c, out=h_t)
        h_before, c_before = h_t, c_t


def backward(p: Layer, grad: Layer, tape: Tape, dh: Array) -> None:
    """With dh (T, B, H) what is above says of h_t (overwritten), leave dL/da_t of the four gates in
    tape.gates and dL/dwh in grad.

        dL/dc_t  = dL/dh_t o_t (1 - tanh^2 c_t) + f_{t+1} dL/dc_{t+1}
        dL/da_o  = dL/dh_t tanh(c_t) o (1 - o)        dL/da_i = dL/dc_t g i (1 - i)
        dL/da_f  = dL/dc_t c_{t-1} f (1 - f)          dL/da_g = dL/dc_t i (1 - g^2)
        dL/dh_{t-1} = sum over the gates of dL/da wh^T
    """
    wh_t = np.ascontiguousarray(p.wh.transpose(0, 2, 1))
    slope, product = tape.product, np.empty_like(tape.product)
    carry, dc, scratch = tape.scratch
    carry[:] = 0
    dc[:] = 0
    for t in range(dh.shape[0] - 1, -1, -1):
        gates, dh_t, tanh_c = tape.gates[:, t], dh[t], tape.kept[t]
        i, f, o, g = gates
        np.add(dh_t, carry, out=dh_t)
        np.multiply(tanh_c, tanh_c, out=scratch)
        np.subtract(1, scratch, out=scratch)
        np.multiply(scratch, o, out=scratch)
        np.multiply(scratch, dh_t, out=scratch)
        np.add(dc, scratch, out=dc)
        # The slopes of all four gates, times what each multiplies.
        np.subtract(1, gates[:SIGMOIDS], out=slope[:SIGMOIDS])
        np.multiply(slope[:SIGMOIDS], gates[:SIGMOIDS], out=slope[:SIGMOIDS])
        np.multiply(g, g, out=slope[3])
        np.subtract(1, slope[3], out=slope[3])
        np.multiply(slope[3], i, out=slope[3])
        np.multiply(slope[0], g, out=slope[0])
        np.multiply(slope[1], tape.c[t], out=slope[1])
        np.multiply(slope[2], tanh_c, out=slope[2])
        np.multiply(slope[2], dh_t, out=o)
        np.multiply(slope[3], dc, out=g)
        np.multiply(slope[0], dc, out=i)
        np.multiply(slope[1], dc, out=scratch)
        np.multiply(dc, f, out=dc)
        f[:] = scratch
        np.matmul(gates, wh_t, out=product)
        np.add.reduce(product, axis=0, out=carry)
    units = dh.shape[-1]
    da = tape.gates.reshape(tape.gates.shape[0], -1, units)
    np.matmul(tape.h[:-1].reshape(-1, units).T, da, out=grad.wh)
