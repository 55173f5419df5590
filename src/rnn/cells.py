"""Cells by name: each a set of pure functions over a sequence and over one time step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from src.rnn import gru, lstm, vanilla
from src.rnn.cache import LayerCache
from src.rnn.parameters import Array, Layer, RNNConfig


@dataclass(frozen=True)
class Cell:
    """Functions of a cell. Its gates and buffers are specified by `parameters.CellSpec`.

    The pre-activations of sigmoid gates are passed halved, since sigma(a) = (1 + tanh(a / 2)) / 2.

    Attributes:
        forward: `forward(p, cache, inputs)` fills the cache from its initial state. inputs yields the
            input projection x_t wx + b (G, B, H) of each time step.
        backward: `backward(p, grad, cache, dh)` returns the gradient dL/da (G, T, B, H) of the
            pre-activations and writes dL/dwh (and dL/dbh) into grad. dh (T, B, H) is the upstream gradient
            dL/dh_t and may be overwritten.
        step: `step(x, product, state, bh)` computes one time step in place, for sampling. x and product
            (B, G*H) are x_t wx + b and h_{t-1} wh with the gates concatenated; product may be overwritten.
            state (S, B, H) is updated.
        backward_step: `backward_step(p, cache, t, d)` goes one time step back. From the gradient d of the
            state at t (S, B, H) it returns dL/da_t (G, B, H) and the gradient of the state at t-1
            (S, B, H). The share of dL/dc_t that flows through h_t is added to d in place.
    """

    forward: Callable[[Layer, LayerCache, Iterable[Array]], None]
    backward: Callable[[Layer, Layer, LayerCache, Array], Array]
    step: Callable[[Array, Array, Array, Array], None]
    backward_step: Callable[[Layer, LayerCache, int, Array], tuple[Array, Array]]


CELLS = {
    ("rnn", "tanh"): Cell(
        partial(vanilla.forward, activation=np.tanh),
        partial(vanilla.backward, activation_grad=vanilla.tanh_grad),
        partial(vanilla.step, activation=np.tanh),
        partial(vanilla.backward_step, activation_grad=vanilla.tanh_grad),
    ),
    ("rnn", "relu"): Cell(
        partial(vanilla.forward, activation=vanilla.relu),
        partial(vanilla.backward, activation_grad=vanilla.relu_grad),
        partial(vanilla.step, activation=partial(np.maximum, 0)),
        partial(vanilla.backward_step, activation_grad=vanilla.relu_grad),
    ),
    ("gru", "tanh"): Cell(gru.forward, gru.backward, gru.step, gru.backward_step),
    ("lstm", "tanh"): Cell(lstm.forward, lstm.backward, lstm.step, lstm.backward_step),
}


def get_cell(architecture: RNNConfig) -> Cell:
    """Return the cell of a network.

    Args:
        architecture: Names the cell and its activation.

    Returns:
        Its functions.

    Raises:
        ValueError: There is no such cell, or not with this activation.
    """
    try:
        return CELLS[architecture.cell, architecture.activation]
    except KeyError as error:
        known = ", ".join(f"{cell} with {activation}" for cell, activation in CELLS)
        raise ValueError(
            f"expected one of {known}, got {architecture.cell} with {architecture.activation}"
        ) from error
