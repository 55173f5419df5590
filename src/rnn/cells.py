"""Cells: the arrays that each needs, and its pure functions over a sequence and over one time step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.rnn.cache import LayerCache
    from src.rnn.parameters import Array, Layer


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A recurrent cell.

    The pre-activations of sigmoid gates are passed halved, since sigma(a) = (1 + tanh(a / 2)) / 2.

    Attributes:
        gates: One letter for each block of pre-activations, in the order of the arrays' first axis. The
            sigmoid gates come first, the tanh candidate last.
        n_sigmoid: Number of sigmoid gates.
        states: Number of state arrays: h, and c for the LSTM.
        scratch: Number of scratch arrays (B, H) for one time step.
        recurrent_bias: Whether the cell has `bh`, the GRU's bias inside the product of the reset gate.
        bias_one_gates: Gates whose bias is initialized to 1.
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

    gates: str
    n_sigmoid: int = 0
    states: int = 1
    scratch: int = 0
    recurrent_bias: bool = False
    bias_one_gates: str = ""
    forward: "Callable[[Layer, LayerCache, Iterable[Array]], None]"
    backward: "Callable[[Layer, Layer, LayerCache, Array], Array]"
    step: "Callable[[Array, Array, Array, Array], None]"
    backward_step: "Callable[[Layer, LayerCache, int, Array], tuple[Array, Array]]"


# Name and activation -> module of this package and object, which is imported when a network has it.
CELLS = {
    ("rnn", "tanh"): "vanilla.TANH",
    ("rnn", "relu"): "vanilla.RELU",
    ("gru", "tanh"): "gru.GRU",
    ("lstm", "tanh"): "lstm.LSTM",
}


@cache
def get_cell(name: str, activation: str = "tanh") -> Cell:
    """Import a cell.

    Args:
        name: `rnn`, `gru`, `lstm`, or the dotted path of a `Cell` in any module: `ugrnn.UGRNN`.
        activation: `tanh`, or `relu` for the cell `rnn`.

    Returns:
        The cell.

    Raises:
        ValueError: There is no such cell, or not with this activation.
    """
    path = f"{__package__}.{CELLS[name, activation]}" if (name, activation) in CELLS else name
    known = ", ".join(f"{cell} with {function}" for cell, function in CELLS)
    message = (
        f"expected one of {known}, or the dotted path of a {__name__}.Cell, got {name} with {activation}"
    )
    if "." not in path or (path == name and activation != "tanh"):
        raise ValueError(message)
    try:
        cell: Cell = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{message} ({error})") from error
    if not all(hasattr(cell, field.name) for field in fields(Cell)):  # a logged model has its own Cell
        raise ValueError(f"{message} (a {type(cell).__name__})")
    return cell
