"""The network as pure functions over data: ids in, logits, loss and gradients out.

    layer 1: x_t = the character's id         layer l > 1: x_t = h_t of layer l - 1, after dropout
    gates_t = x_t wx + b + h_{t-1} wh         h_t = cell(gates_t)        logits_t = h_t wy + by

T time steps, B sequences in a batch, H hidden units, V vocabulary, L layers, G gates; arrays are
time-major. A one-hot vector times `wx` is a row of `wx`, so the input layer is a look-up and needs no
one-hot vectors.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.rnn.aligned import empty, zeros
from src.rnn.blocked_matmul import AT_ONCE, product_with_rows, sum_of_products
from src.rnn.cache import Tape
from src.rnn.cells import cell_of
from src.rnn.loss import columns, cross_entropy_and_gradient
from src.rnn.parameters import Architecture, Array, Layer, Parameters

Ids = NDArray[np.intp]

CACHED = 2**20  # bytes: what the loop over time soon reads again better stays in the cache


@dataclass(frozen=True)
class Buffers:
    """Everything that a pass over (T, B) writes, allocated once.

    tapes: one a layer. z (V, T*B): logits, then their gradient. table (G, V, H): wx + b of the first
    layer. dropped: of each layer but the last, its output after dropout, (T, B, H). Only for the backward
    pass, else empty: dh (T, B, H), onehot (V, T*B), wy_t (V, H) the transposed gradient of wy, partial
    (AT_ONCE + 1, G, V, H) sums of some of the products over time.
    """

    architecture: Architecture
    tapes: tuple[Tape, ...]
    z: Array
    table: Array
    dropped: tuple[Array, ...]
    dh: Array
    onehot: Array
    wy_t: Array
    partial: Array

    @classmethod
    def allocate(
        cls,
        architecture: Architecture,
        steps: int,
        batch: int,
        dtype: Any = np.float32,
        training: bool = False,
    ) -> "Buffers":
        a, n = architecture, steps * batch
        return cls(
            architecture=a,
            tapes=tuple(Tape.allocate(a, steps, batch, dtype) for _ in range(a.layers)),
            z=empty((a.vocab, n), dtype),
            table=empty((a.gates, a.vocab, a.hidden), dtype),
            dropped=tuple(empty((steps, batch, a.hidden), dtype) for _ in range(a.layers - 1)),
            dh=empty((steps, batch, a.hidden) if training else (0,), dtype),
            onehot=zeros((a.vocab, n) if training else (0,), dtype),
            wy_t=empty((a.vocab, a.hidden) if training else (0,), dtype),
            partial=empty((AT_ONCE + 1, a.gates, a.vocab, a.hidden) if training else (0,), dtype),
        )

    def set_state(self, state: Array) -> None:
        """Begin from a state (L, S, B, H): S = 2 for the LSTM's h and c, else 1."""
        for tape, (h, *c) in zip(self.tapes, state, strict=True):
            tape.h[0] = h
            if c:
                tape.c[0] = c[0]

    def state(self) -> Array:
        """The state behind the last step, a copy, (L, S, B, H): what a following piece begins with."""
        return np.stack([np.stack([tape.h[-1], *tape.c[-1:]]) for tape in self.tapes])

    def carry(self) -> None:
        """Begin the next piece where this one ended."""
        for tape in self.tapes:
            tape.h[0] = tape.h[-1]
            tape.c[:1] = tape.c[-1:]

    def end_with(self, state: Array) -> None:
        """As if the last piece had ended in a state (L, S, B, H), which `carry` then goes on from."""
        for tape, (h, *c) in zip(self.tapes, state, strict=True):
            tape.h[-1] = h
            if c:
                tape.c[-1] = c[0]

    def reset(self) -> None:
        """Begin from a zero state."""
        for tape in self.tapes:
            tape.h[0] = 0
            tape.c[:1] = 0


def zero_state(architecture: Architecture, batch: int, dtype: Any = np.float32) -> Array:
    """(L, S, B, H) of zeros."""
    return np.zeros((architecture.layers, architecture.states, batch, architecture.hidden), dtype)


def dropout_masks(
    architecture: Architecture,
    steps: int,
    batch: int,
    share: float,
    rng: np.random.Generator,
    dtype: Any = np.float32,
) -> Array:
    """Masks (L-1, T, B, H) of 0 and 1 / (1 - share): a unit is dropped with that probability.

    Between layers only, never along time: Zaremba, Sutskever and Vinyals (2014), "Recurrent neural
    network regularization".
    """
    shape = (architecture.layers - 1, steps, batch, architecture.hidden)
    return (rng.random(shape, np.float32) >= share).astype(dtype) * (1 / (1 - share))


def forward(p: Parameters, ids: Ids, buffers: Buffers, masks: Array | None = None) -> Array:
    """Logits (V, T*B) of ids (T, B), from the state that stands in the buffers.

    masks: dropout_masks(...) in training, None in evaluation.
    """
    cell, halved, below = cell_of(buffers.architecture), buffers.architecture.kind.sigmoids, None
    for k, (layer, tape) in enumerate(zip(p.layers, buffers.tapes, strict=True)):
        if below is None:
            inputs = look_up(layer, ids, buffers.table, tape, halved)
        else:
            inputs = multiply(layer, below, tape, halved)
        cell.forward(layer, tape, inputs)
        below = tape.h[1:]
        if masks is not None and k < len(buffers.dropped):
            below = np.multiply(below, masks[k], out=buffers.dropped[k])
    units = buffers.architecture.hidden
    top = buffers.tapes[-1].h[1:].reshape(-1, units)
    product_with_rows(p.wy, top, buffers.z)  # all time steps at once
    np.add(buffers.z, p.by[:, None], out=buffers.z)
    return buffers.z


def look_up(layer: Layer, ids: Ids, table: Array, tape: Tape, halved: int) -> Iterable[Array]:
    """The first layer's input: rows of wx + b, for each step (G, B, H)."""
    np.add(layer.wx, layer.b[:, None], out=table)
    if halved:
        table[:halved] *= 0.5
    if tape.gates.nbytes > CACHED:
        return look_up_step_by_step(ids, table, tape.looked_up)
    for rows, gate in zip(table, tape.gates, strict=True):
        np.take(rows, ids, axis=0, out=gate, mode="clip")  # clip: writes to out unbuffered
    return tape.once(by_step, tape.gates)


def by_step(tape: Tape, gates: Array) -> list[Array]:
    """gates (G, T, B, H) as (G, B, H) for each step."""
    return list(gates.swapaxes(0, 1))


def look_up_step_by_step(ids: Ids, table: Array, row: Array) -> Iterator[Array]:
    for ids_t in ids:
        yield np.take(table, ids_t, axis=1, out=row, mode="clip")


def multiply(layer: Layer, below: Array, tape: Tape, halved: int) -> Iterable[Array]:
    """A higher layer's input: x wx + b, a product for all time steps at once; below (T, B, H)."""
    g, units = tape.gates.shape[0], tape.gates.shape[-1]
    flat = tape.gates.reshape(g, -1, units)
    np.matmul(below.reshape(-1, units), layer.wx, out=flat)
    flat += layer.b[:, None]
    if halved:
        flat[:halved] *= 0.5
    return tape.once(by_step, tape.gates)


def backward(p: Parameters, g: Parameters, ids: Ids, buffers: Buffers, masks: Array | None = None) -> None:
    """Write the gradient into `g`, given dL/dlogits in buffers.z and what `forward` left."""
    units, dz, dh = buffers.architecture.hidden, buffers.z, buffers.dh
    cell = cell_of(buffers.architecture)
    top = buffers.tapes[-1].h[1:].reshape(1, -1, units)
    sum_of_products(dz, top, buffers.wy_t[None], buffers.partial)
    g.wy[...] = buffers.wy_t.T
    np.add.reduce(dz, axis=1, out=g.by)
    np.matmul(dz.T, p.wy.T, out=dh.reshape(-1, units))
    for k in reversed(range(len(p.layers))):
        layer, gradient, tape = p.layers[k], g.layers[k], buffers.tapes[k]
        da = cell.backward(layer, gradient, tape, dh).reshape(len(layer.wh), -1, units)
        if k == 0:
            look_up_gradient(gradient, ids, da, buffers.onehot, buffers.partial)
            return
        below = buffers.tapes[k - 1].h[1:] if masks is None else buffers.dropped[k - 1]
        np.matmul(below.reshape(-1, units).T, da, out=gradient.wx)
        da.sum(axis=1, out=gradient.b)
        pass_down(layer, da, tape.kept.reshape(-1, units), dh.reshape(-1, units))
        dh = tape.kept
        if masks is not None:
            np.multiply(dh, masks[k - 1], out=dh)


def look_up_gradient(gradient: Layer, ids: Ids, da: Array, onehot: Array, partial: Array) -> None:
    """Add up the rows of da (G, T*B, H) by character.

    That is a product with a one-hot matrix. Here, and only here, writing the matrix down (no larger than
    the logits) pays: a scatter-add takes ten times as long.
    """
    onehot[:] = 0
    onehot[ids.reshape(-1), columns(ids.size)] = 1
    sum_of_products(onehot, da, gradient.wx, partial)
    np.add.reduce(gradient.wx, axis=1, out=gradient.b)  # every step looks up one row of wx and adds b once


def pass_down(layer: Layer, da: Array, out: Array, scratch: Array) -> None:
    """dL/dx = sum over the gates of da wx^T, into out (T*B, H)."""
    np.matmul(da[0], layer.wx[0].T, out=out)
    for gate, wx in zip(da[1:], layer.wx[1:], strict=True):
        np.matmul(gate, wx.T, out=scratch)
        np.add(out, scratch, out=out)


def loss_and_gradient(
    p: Parameters,
    g: Parameters,
    ids: Ids,
    targets: Ids,
    buffers: Buffers,
    masks: Array | None = None,
    of: int | None = None,
) -> float:
    """The mean loss of a batch in nats per character; its gradient is written into `g`.

    ids, targets (T, B). The state in the buffers is where the batch begins, taken as a constant. of: how many
    predictions the mean is over, where this is a part of a larger batch.
    """
    z = forward(p, ids, buffers, masks)
    loss = cross_entropy_and_gradient(z, targets.reshape(-1), of)
    backward(p, g, ids, buffers, masks)
    return float(loss)
