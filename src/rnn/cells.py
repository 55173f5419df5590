"""The cells by name: pure functions each, over a whole sequence and over one step, forward and backward."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from src.rnn import gru, lstm, vanilla
from src.rnn.cache import Tape
from src.rnn.parameters import Architecture, Array, Layer


@dataclass(frozen=True)
class Cell:
    """What training, sampling and looking inside ask of a cell; its sizes are in cell_spec.py.

    forward(p, tape, inputs): fill the tape from its first state. inputs: for each step x_t wx + b (G, B, H),
    that of the sigmoid gates halved.
    backward(p, gradient, tape, dh) -> dL/da (G, T, B, H) of the pre-activations; dL/dwh (and dL/dbh) go into
    the gradient. dh (T, B, H), what is above says of h_t, may be overwritten.
    step(x, product, state, bh): one step in place, for sampling. x, product (B, G*H): x_t wx + b and
    h_{t-1} wh, the gates side by side, those of the sigmoids halved; product may be overwritten. state
    (S, B, H).
    step_back(p, tape, t, d): one step back. From d = dL/d(h_t and c_t), (S, B, H), to dL/da of the gates at
    t, as the inputs see them, (G, B, H), and to dL/d(h_{t-1} and c_{t-1}). To dL/dc_t is added, in place,
    what comes through h_t.
    """

    forward: Callable[[Layer, Tape, Iterable[Array]], None]
    backward: Callable[[Layer, Layer, Tape, Array], Array]
    step: Callable[[Array, Array, Array, Array], None]
    step_back: Callable[[Layer, Tape, int, Array], tuple[Array, Array]]


CELLS = {
    ("rnn", "tanh"): Cell(
        vanilla.forward_tanh, vanilla.backward_tanh, vanilla.step_tanh, vanilla.step_back_tanh
    ),
    ("rnn", "relu"): Cell(
        vanilla.forward_relu, vanilla.backward_relu, vanilla.step_relu, vanilla.step_back_relu
    ),
    ("gru", "tanh"): Cell(gru.forward, gru.backward, gru.step, gru.step_back),
    ("lstm", "tanh"): Cell(lstm.forward, lstm.backward, lstm.step, lstm.step_back),
}


def cell_of(architecture: Architecture) -> Cell:
    """The cell of a network. Raises ValueError for a kind that there is not."""
    try:
        return CELLS[architecture.cell, architecture.activation]
    except KeyError as error:
        known = ", ".join(f"{cell} with {activation}" for cell, activation in CELLS)
        raise ValueError(
            f"expected one of {known}, got {architecture.cell} with {architecture.activation}"
        ) from error
