"""The cells by name: a pair of pure functions each, forward over a whole sequence and backward over it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from src.rnn import gru, lstm, vanilla
from src.rnn.parameters import Architecture, Array, Layer
from src.rnn.tape import Tape


@dataclass(frozen=True)
class Cell:
    """forward(p, tape, inputs); backward(p, gradient, tape, dh) -> da. halved: how many of the gates, the
    first ones, are sigmoids and want the input's contribution halved."""

    forward: Callable[[Layer, Tape, Iterable[Array]], None]
    backward: Callable[[Layer, Layer, Tape, Array], Array]
    halved: int


CELLS = {
    ("rnn", "tanh"): Cell(vanilla.forward_tanh, vanilla.backward_tanh, 0),
    ("rnn", "relu"): Cell(vanilla.forward_relu, vanilla.backward_relu, 0),
    ("gru", "tanh"): Cell(gru.forward, gru.backward, gru.SIGMOIDS),
    ("lstm", "tanh"): Cell(lstm.forward, lstm.backward, lstm.SIGMOIDS),
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
