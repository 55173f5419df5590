"""The network as pure functions: token ids in, logits, loss and gradients out.

    layer 1: x_t = one-hot character          layer l > 1: x_t = h_t of layer l - 1, after dropout
    gates_t = x_t wx + b + h_{t-1} wh         h_t = cell(gates_t)        logits_t = h_t wy + by

T time steps, B sequences per batch, H hidden units, V vocabulary size, L layers, G gates, S state arrays per
layer. Arrays are time-major. A one-hot vector times `wx` is a row of `wx`, so the first layer is an embedding
and needs no one-hot vectors.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.rnn.blocked_matmul import MAX_CHUNKS, split_k_matmul, split_n_matmul
from src.rnn.cache import LayerCache, empty, zeros
from src.rnn.loss import columns, cross_entropy_and_gradient
from src.rnn.parameters import Array, Layer, Parameters, RNNConfig

Ids = NDArray[np.intp]

CACHE_BYTES = 2**20  # inputs up to this size are still in the CPU cache when the loop over time reads them


@dataclass(frozen=True)
class Buffers:
    """All arrays that a forward and a backward pass over (T, B) write, allocated once.

    Attributes:
        architecture: Sizes of the network.
        caches: Activation cache of each layer.
        z: Logits, shape `(V, T*B)`, overwritten by their gradient.
        table: Embedding table wx + b of the first layer, shape (G, V, H).
        dropped: Outputs after dropout of each layer but the last, shape (T, B, H) each.
        dh: Upstream gradient, shape (T, B, H). It and the arrays below are empty if not allocated for
            training.
        onehot: One-hot inputs, shape `(V, T*B)`.
        wy_t: Transposed gradient of wy, shape (V, H).
        partial: Partial sums of products over time, shape (MAX_CHUNKS + 1, G, V, H).
    """

    architecture: RNNConfig
    caches: tuple[LayerCache, ...]
    z: Array
    table: Array
    dropped: tuple[Array, ...]
    dh: Array
    onehot: Array
    wy_t: Array
    partial: Array

    @classmethod
    def allocate(
        cls, architecture: RNNConfig, steps: int, batch: int, dtype: Any = np.float32, training: bool = False
    ) -> "Buffers":
        """Allocate the buffers, with a zero initial state.

        Args:
            architecture: Sizes of the network.
            steps: Number of time steps T.
            batch: Batch size B.
            dtype: float32 in training, float64 or complex128 in gradient checks.
            training: Whether to allocate the arrays that only `backward` needs, too.

        Returns:
            The buffers; the initial state and `onehot` are zero, the other arrays are not initialized.
        """
        a, n = architecture, steps * batch
        return cls(
            architecture=a,
            caches=tuple(LayerCache.allocate(a, steps, batch, dtype) for _ in range(a.layers)),
            z=empty((a.vocab, n), dtype),
            table=empty((a.gates, a.vocab, a.hidden), dtype),
            dropped=tuple(empty((steps, batch, a.hidden), dtype) for _ in range(a.layers - 1)),
            dh=empty((steps, batch, a.hidden) if training else (0,), dtype),
            onehot=zeros((a.vocab, n) if training else (0,), dtype),
            wy_t=empty((a.vocab, a.hidden) if training else (0,), dtype),
            partial=empty((MAX_CHUNKS + 1, a.gates, a.vocab, a.hidden) if training else (0,), dtype),
        )

    def set_state(self, state: Array, t: int = 0) -> None:
        """Set the state after time step t.

        Args:
            state: State of each layer, shape (L, S, B, H), copied.
            t: Index in the states: 0 is the initial state, -1 the final state, which `carry` uses.
        """
        for cache, (h, *c) in zip(self.caches, state, strict=True):
            cache.h[t] = h
            if c:
                cache.c[t] = c[0]

    def state(self) -> Array:
        """Copy the final state.

        Returns:
            State of each layer after the last time step, shape (L, S, B, H).
        """
        return np.stack([np.stack([cache.h[-1], *cache.c[-1:]]) for cache in self.caches])

    def carry(self) -> None:
        """Use the final state of the last pass as the initial state of the next pass."""
        for cache in self.caches:
            cache.h[0] = cache.h[-1]
            cache.c[:1] = cache.c[-1:]

    def reset(self) -> None:
        """Set the initial state to zero."""
        for cache in self.caches:
            cache.h[0] = 0
            cache.c[:1] = 0


def zero_state(architecture: RNNConfig, batch: int, dtype: Any = np.float32) -> Array:
    """Return a state of zeros.

    Args:
        architecture: Sizes of the network.
        batch: Batch size B.
        dtype: float32 in training, float64 or complex128 in gradient checks.

    Returns:
        State of each layer, shape (L, S, B, H).
    """
    return np.zeros((architecture.layers, architecture.states, batch, architecture.hidden), dtype)


def dropout_masks(
    architecture: RNNConfig,
    steps: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
    dtype: Any = np.float32,
) -> Array:
    """Draw dropout masks for the connections between layers, never for those along time.

    Zaremba, Sutskever and Vinyals (2014), "Recurrent neural network regularization".

    Args:
        architecture: Sizes of the network.
        steps: Number of time steps T.
        batch: Batch size B.
        rate: Probability with which a unit is dropped, in [0, 1).
        rng: Source of the randomness.
        dtype: Type of the masks.

    Returns:
        Masks of 0 and 1 / (1 - rate), shape (L-1, T, B, H). The factor keeps the mean of each activation, so
            that evaluation needs no masks.
    """
    shape = (architecture.layers - 1, steps, batch, architecture.hidden)
    return (rng.random(shape, np.float32) >= rate).astype(dtype) * (1 / (1 - rate))


def forward(p: Parameters, ids: Ids, buffers: Buffers, masks: Array | None = None) -> Array:
    """Run the forward pass from the initial state in the buffers.

    Args:
        p: Parameters of the network.
        ids: Token ids, int64, shape (T, B).
        buffers: Buffers for (T, B); the activations and the final state are stored in them.
        masks: Dropout masks, shape (L-1, T, B, H), in training; None in evaluation.

    Returns:
        Logits, shape `(V, T*B)`, the array buffers.z.
    """
    cell, below = buffers.architecture.spec, None
    for k, (layer, cache) in enumerate(zip(p.layers, buffers.caches, strict=True)):
        if below is None:
            inputs = embed(layer, ids, buffers.table, cache, cell.n_sigmoid)
        else:
            inputs = input_projection(layer, below, cache, cell.n_sigmoid)
        cell.forward(layer, cache, inputs)
        below = cache.h[1:]
        if masks is not None and k < len(buffers.dropped):
            below = np.multiply(below, masks[k], out=buffers.dropped[k])
    units = buffers.architecture.hidden
    top = buffers.caches[-1].h[1:].reshape(-1, units)
    split_n_matmul(p.wy, top, buffers.z)  # all time steps in one call
    np.add(buffers.z, p.by[:, None], out=buffers.z)
    return buffers.z


def embed(layer: Layer, ids: Ids, table: Array, cache: LayerCache, n_sigmoid: int) -> Iterable[Array]:
    """Compute the input projection x_t wx + b of the first layer by a look-up, halved for the sigmoid gates.

    Args:
        layer: Parameters of the first layer.
        ids: Token ids, int64, shape (T, B).
        table: Array for wx + b, shape (G, V, H), overwritten.
        cache: Activation cache; the projection is written to its gates, or, if they are larger than
            CACHE_BYTES, to `embedding`, one time step at a time.
        n_sigmoid: Number of sigmoid gates.

    Returns:
        The projection of each time step, T arrays of shape (G, B, H).
    """
    np.add(layer.wx, layer.b[:, None], out=table)
    if n_sigmoid:
        table[:n_sigmoid] *= 0.5
    if cache.gates.nbytes > CACHE_BYTES:
        return (np.take(table, ids_t, axis=1, out=cache.embedding, mode="clip") for ids_t in ids)
    for rows, gate in zip(table, cache.gates, strict=True):
        np.take(rows, ids, axis=0, out=gate, mode="clip")  # clip: writes to out unbuffered
    return cache.cached_views(_time_steps, cache.gates)


def _time_steps(cache: LayerCache, gates: Array) -> list[Array]:
    """Return the gates of each time step, views of shape (G, B, H)."""
    return list(gates.swapaxes(0, 1))


def input_projection(layer: Layer, x: Array, cache: LayerCache, n_sigmoid: int) -> Iterable[Array]:
    """Compute the input projection x_t wx + b of a layer above the first, in cache.gates.

    One product computes all time steps. The projection is halved for the sigmoid gates.

    Args:
        layer: Parameters of the layer.
        x: Output of the layer below, shape (T, B, H).
        cache: Activation cache of the layer.
        n_sigmoid: Number of sigmoid gates.

    Returns:
        The projection of each time step, T arrays of shape (G, B, H).
    """
    g, units = cache.gates.shape[0], cache.gates.shape[-1]
    projection = cache.gates.reshape(g, -1, units)
    np.matmul(x.reshape(-1, units), layer.wx, out=projection)
    projection += layer.b[:, None]
    if n_sigmoid:
        projection[:n_sigmoid] *= 0.5
    return cache.cached_views(_time_steps, cache.gates)


def backward(p: Parameters, g: Parameters, ids: Ids, buffers: Buffers, masks: Array | None = None) -> None:
    """Run the backward pass after `forward`, from dL/dlogits in buffers.z.

    Args:
        p: Parameters of the network.
        g: Gradient of the network, overwritten.
        ids: Token ids of the forward pass, int64, shape (T, B).
        buffers: Buffers of the forward pass, in which buffers.z has been overwritten by dL/dlogits.
        masks: Dropout masks of the forward pass, shape (L-1, T, B, H), or None.
    """
    units, dz, dh = buffers.architecture.hidden, buffers.z, buffers.dh
    cell = buffers.architecture.spec
    top = buffers.caches[-1].h[1:].reshape(1, -1, units)
    split_k_matmul(dz, top, buffers.wy_t[None], buffers.partial)
    g.wy[...] = buffers.wy_t.T
    np.add.reduce(dz, axis=1, out=g.by)
    np.matmul(dz.T, p.wy.T, out=dh.reshape(-1, units))
    for k in reversed(range(len(p.layers))):
        layer, gradient, cache = p.layers[k], g.layers[k], buffers.caches[k]
        da = cell.backward(layer, gradient, cache, dh).reshape(len(layer.wh), -1, units)
        if k == 0:
            embedding_grad(gradient, ids, da, buffers.onehot, buffers.partial)
            return
        below = buffers.caches[k - 1].h[1:] if masks is None else buffers.dropped[k - 1]
        np.matmul(below.reshape(-1, units).T, da, out=gradient.wx)
        da.sum(axis=1, out=gradient.b)
        input_grad(layer, da, cache.extra.reshape(-1, units), dh.reshape(-1, units))
        dh = cache.extra
        if masks is not None:
            np.multiply(dh, masks[k - 1], out=dh)


def embedding_grad(gradient: Layer, ids: Ids, da: Array, onehot: Array, partial: Array) -> None:
    """Sum dL/da by character into gradient.wx, and over all time steps and sequences into gradient.b.

    The sum is a product with a one-hot matrix, which is no larger than the logits; a scatter-add takes ten
    times as long.

    Args:
        gradient: Gradient of the first layer; wx and b are overwritten.
        ids: Token ids, int64, shape (T, B).
        da: Gradient dL/da of the pre-activations, shape `(G, T*B, H)`.
        onehot: Scratch array for the one-hot matrix, shape `(V, T*B)`, overwritten.
        partial: Scratch array for partial sums, shape (MAX_CHUNKS + 1, G, V, H), overwritten.
    """
    onehot[:] = 0
    onehot[ids.reshape(-1), columns(ids.size)] = 1
    split_k_matmul(onehot, da, gradient.wx, partial)
    np.add.reduce(gradient.wx, axis=1, out=gradient.b)  # every step reads one row of wx and adds b once


def input_grad(layer: Layer, da: Array, out: Array, scratch: Array) -> None:
    """Compute the gradient of the input of a layer, dL/dx = sum over the gates of da wx^T.

    Args:
        layer: Parameters of the layer.
        da: Gradient dL/da of the pre-activations, shape `(G, T*B, H)`.
        out: Array for the result, shape `(T*B, H)`.
        scratch: Scratch array of the same shape, overwritten.
    """
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
    denominator: int | None = None,
) -> float:
    """Run `forward`, the loss and `backward` on a batch; the gradient is truncated at the initial state.

    Args:
        p: Parameters of the network.
        g: Gradient of the network, overwritten.
        ids: Input ids, int64, shape (T, B).
        targets: Target ids, int64, shape (T, B).
        buffers: Buffers for (T, B), allocated for training.
        masks: Dropout masks, shape (L-1, T, B, H); None for no dropout.
        denominator: Number of predictions over which the mean is taken; None for `T*B`. A shard of a batch
            passes the number of predictions of the whole batch.

    Returns:
        Mean loss in nats per character.
    """
    z = forward(p, ids, buffers, masks)
    loss = cross_entropy_and_gradient(z, targets.reshape(-1), denominator)
    backward(p, g, ids, buffers, masks)
    return float(loss)
