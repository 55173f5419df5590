"""Cells: the arrays that each cell needs, and its pure functions over a sequence and over one time step."""

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
    """Specification of a recurrent cell: its arrays and its functions.

    The pre-activations of sigmoid gates are passed halved, because sigma(a) = (1 + tanh(a / 2)) / 2.

    Attributes:
        gates: One letter for each block of pre-activations, in the order of the first axis of the arrays. The
            sigmoid gates come first, the tanh candidate last.
        n_sigmoid: Number of sigmoid gates.
        states: Number of state arrays S: 1 for h, 2 for h and c of the LSTM.
        scratch: Number of scratch arrays (B, H) for one time step.
        recurrent_bias: Whether the cell has `bh`, the bias of the GRU inside the product of the reset gate.
        bias_one_gates: Letters of the gates whose bias is initialized to 1.
        forward: `forward(p, cache, inputs)` fills the activation cache from its initial state. `inputs`
            yields the input projection x_t wx + b, shape (G, B, H), of each time step.
        backward: `backward(p, grad, cache, dh)` returns the gradient dL/da of the pre-activations, shape
            (G, T, B, H), and writes dL/dwh (and dL/dbh) into `grad`. `dh` is the upstream gradient dL/dh_t,
            shape (T, B, H), and may be overwritten.
        step: `step(x, product, state, bh)` computes one time step in place, for sampling. `x` and `product`
            are x_t wx + b and h_{t-1} wh with the gates concatenated, shape (B, G H); `product` may be
            overwritten. `state`, shape (S, B, H), is updated.
        backward_step: `backward_step(p, cache, t, d)` goes one time step back. From `d`, the gradient of the
            state after step t, shape (S, B, H), it returns dL/da_t, shape (G, B, H), and the gradient of the
            state before step t, shape (S, B, H). The part of dL/dc_t that flows through h_t is added to `d`
            in place.
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


# Name and activation -> module of this package and object, which is imported when a network uses it.
CELLS = {
    ("rnn", "tanh"): "vanilla.TANH",
    ("rnn", "relu"): "vanilla.RELU",
    ("gru", "tanh"): "gru.GRU",
    ("lstm", "tanh"): "lstm.LSTM",
}


@cache
def get_cell(name: str, activation: str = "tanh") -> Cell:
    """Import a cell and check that it has all fields of `Cell`.

    Args:
        name: `rnn`, `gru`, `lstm`, or the dotted path of a `Cell` in any module, for example `ugrnn.UGRNN`.
        activation: `tanh`, or `relu` for the cell `rnn`.

    Returns:
        The cell; a second call with the same arguments returns the same object.

    Raises:
        ValueError: There is no such cell, or it does not support the activation.
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
    if not all(hasattr(cell, field.name) for field in fields(Cell)):  # a logged model has its own class
        raise ValueError(f"{message} (a {type(cell).__name__})")
    return cell
