"""The equations of a training step, each written once in NumPy's notation, and their MathML."""

import ast

import numpy as np

from src.rnn.parameters import Array, RNNConfig, named_views

EQUATIONS = {
    "x": "onehot(input)",
    "y": "onehot(target)",
    "logits": "h @ wy + by",
    "p": "exp(logits) / sum(exp(logits))",
    "loss": "-log(p @ y.T)",
    "L": "sum(loss) / T",
    "dlogits": "(p - y) / T",
    "dh": "dlogits @ wy.T + dh_next",
    "dwy": "dwy + h.T @ dlogits",
    "dby": "dby + dlogits",
}
CELL_EQUATIONS = {
    "rnn": {
        "h": "tanh(x @ wx + h_prev @ wh + b)",
        "da": "dh * (1 - h ** 2)",
        "dh_prev": "da @ wh.T",
    },
    "gru": {
        "q": "h_prev @ wh_n + bh",
        "n": "tanh(x @ wx_n + r * q + b_n)",
        "h": "(1 - z) * n + z * h_prev",
        "da_n": "dh * (1 - z) * (1 - n ** 2)",
        "da_z": "dh * (h_prev - n) * z * (1 - z)",
        "da_r": "da_n * q * r * (1 - r)",
        "dq": "da_n * r",
        "dh_prev": "dh * z + da_r @ wh_r.T + da_z @ wh_z.T + dq @ wh_n.T",
        "dwh_n": "dwh_n + h_prev.T @ dq",
        "dbh": "dbh + dq",
    },
    "lstm": {
        "g": "tanh(x @ wx_g + h_prev @ wh_g + b_g)",
        "c": "f * c_prev + i * g",
        "h": "o * tanh(c)",
        "dc": "dc_next + dh * o * (1 - tanh(c) ** 2)",
        "da_o": "dh * tanh(c) * o * (1 - o)",
        "da_i": "dc * g * i * (1 - i)",
        "da_f": "dc * c_prev * f * (1 - f)",
        "da_g": "dc * i * (1 - g ** 2)",
        "dh_prev": "da_o @ wh_o.T + da_i @ wh_i.T + da_f @ wh_f.T + da_g @ wh_g.T",
        "dc_prev": "dc * f",
    },
}
MEANINGS = {
    "x": "input character, one-hot",
    "y": "target character, one-hot",
    "h": "hidden state",
    "h_prev": "hidden state of the step before",
    "c": "cell state",
    "c_prev": "cell state of the step before",
    "r": "reset gate",
    "z": "update gate",
    "q": "recurrent part of the candidate",
    "n": "candidate",
    "o": "output gate",
    "i": "input gate",
    "f": "forget gate",
    "g": "candidate",
    "logits": "logits, one per character",
    "p": "predicted probabilities",
    "loss": "loss of this character, in nats",
    "L": "mean loss, in nats per character",
    "L_new": "mean loss with the new parameters",
    "dh_next": "gradient that step t + 1 sends back; 0 at the last step",
    "dc_next": "gradient that step t + 1 sends back; 0 at the last step",
    "dh_prev": "gradient that this step sends back",
    "dc_prev": "gradient that this step sends back",
    "dx": "gradient of the input; only a layer below would use it",
}
PARAMETERS = {
    "wx": "input weights",
    "wh": "recurrent weights",
    "b": "bias",
    "bh": "recurrent bias",
    "wy": "output weights",
    "by": "output bias",
}
FUNCTIONS = {"sigmoid": "\u03c3", "log": "ln", "sum": "\u2211", "exp": "exp", "tanh": "tanh"}


def equations(architecture: RNNConfig) -> dict[str, str]:
    """Return the equation of every array that a training step computes.

    Args:
        architecture: Sizes of the network; the cell is `rnn`, `gru` or `lstm`.

    Returns:
        The right side of each equation by the name of its array, in NumPy's notation. A gradient of a
            parameter is a sum over the time steps; its own name on the right side is the sum so far.
    """
    of_cell, suffixes = CELL_EQUATIONS[architecture.cell], gate_suffixes(architecture)
    gates = {
        s[1:]: f"sigmoid(x @ wx{s} + h_prev @ wh{s} + b{s})" for s in suffixes[: architecture.spec.n_sigmoid]
    }
    by_parameter = {
        name: equation
        for s in suffixes
        for name, equation in {
            f"dwx{s}": f"dwx{s} + x.T @ da{s}",
            f"dwh{s}": f"dwh{s} + h_prev.T @ da{s}",
            f"db{s}": f"db{s} + da{s}",
        }.items()
    }
    dx = " + ".join(f"da{s} @ wx{s}.T" for s in suffixes)
    updates = {
        f"{name}_new": f"{name} - lr * d{name}"
        for name in blocks(architecture, np.zeros(architecture.size()))
    }
    return EQUATIONS | gates | by_parameter | {"dx": dx} | updates | of_cell


def gate_suffixes(architecture: RNNConfig) -> list[str]:
    """Return what distinguishes the names of the gates' arrays.

    Args:
        architecture: Sizes of the network.

    Returns:
        `_` with the letter of each gate, in the order of the parameters; "" for a cell with one gate.
    """
    gates = architecture.spec.gates
    return [f"_{gate}" for gate in gates] if len(gates) > 1 else [""]


def blocks(architecture: RNNConfig, flat: Array) -> dict[str, Array]:
    """Return each matrix and bias of one layer by its name in the equations.

    Args:
        architecture: Sizes of the network.
        flat: Flat vector of parameters or gradients, shape (n,).

    Returns:
        Views, shape (D, H), (H, H) or (H, V); those of biases have one row.
    """
    found: dict[str, Array] = {}
    for name, array in named_views(architecture, flat).items():
        by_gate = name in ("wx", "wh", "b") and architecture.gates > 1
        parts = zip(gate_suffixes(architecture), array, strict=True) if by_gate else [("", array)]
        found |= {name + suffix: np.atleast_2d(part) for suffix, part in parts}
    return found


def symbol(name: str) -> str:
    """Return the symbol of an array as MathML.

    Args:
        name: Name in the equations, for example `wh_r` or `dh_prev`.

    Returns:
        The symbol with its indices; {t} and {t-1} stand for the time step.
    """
    if name in ("T", "lr", "onehot", *FUNCTIONS):
        return f"<mi>{FUNCTIONS.get(name, name)}</mi>"
    if name.startswith("d"):
        of = symbol(name[1:])
        if name.endswith(("_prev", "_next")):  # only the part of the gradient that one step sends to another
            of = of.replace("msub>", "msubsup>").replace("</msubsup>", "<mtext>next</mtext></msubsup>")
        return f'<mrow><mi mathvariant="normal">d</mi>{of}</mrow>'
    base, _, index = name.partition("_")
    if index == "new":
        return f"<msup>{symbol(base)}<mtext>new</mtext></msup>"
    if index and name.endswith("_new"):
        return f"<msup>{symbol(name.removesuffix('_new'))}<mtext>new</mtext></msup>"
    if base in PARAMETERS:
        indices = f"<mi>{base[1:]}{index}</mi>" if base[1:] + index else ""
    else:
        time = "<mn>{t-1}</mn>" if index == "prev" else "<mn>{t}</mn>"
        gate = f"<mi>{index}</mi><mo>,</mo>" if base == "a" and index else ""
        indices = "" if base == "L" else f"<mrow>{gate}{time}</mrow>"
    letter = {"loss": "\u2113", "L": "\u2112"}.get(base, base[0] if base in PARAMETERS else base)
    return f"<msub><mi>{letter}</mi>{indices}</msub>" if indices else f"<mi>{letter}</mi>"


def mathml(equation: str) -> str:
    """Convert an equation in NumPy's notation to MathML.

    Args:
        equation: A Python expression, for example `da @ wh.T`.

    Returns:
        The expression as MathML, without the element `math`.
    """
    return convert(ast.parse(equation, mode="eval").body)


def convert(node: ast.expr) -> str:
    """Convert a part of an equation to MathML.

    Args:
        node: The part.

    Returns:
        Its MathML.

    Raises:
        TypeError: The equations have no such part.
    """

    def factor(part: ast.expr) -> str:  # a sum in parentheses
        is_sum = isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add | ast.Sub)
        return f"<mrow><mo>(</mo>{convert(part)}<mo>)</mo></mrow>" if is_sum else convert(part)

    match node:
        case ast.Name(id=name):
            return symbol(name)
        case ast.Constant(value=int(value)):
            return f"<mn>{value}</mn>"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"<mrow><mo>\u2212</mo>{factor(operand)}</mrow>"
        case ast.Attribute(value=value, attr="T"):
            return f"<msup>{factor(value)}<mi>\u22a4</mi></msup>"
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            between = "" if name == "sum" else "<mo>(</mo>"
            end = "<mo>)</mo>" if between else ""
            return f"<mrow>{symbol(name)}{between}{convert(argument)}{end}</mrow>"
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"<mfrac>{convert(left)}{convert(right)}</mfrac>"
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return f"<msup>{factor(left)}{convert(right)}</msup>"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            sign = "+" if isinstance(op, ast.Add) else "\u2212"
            return f"<mrow>{convert(left)}<mo>{sign}</mo>{convert(right)}</mrow>"
        case ast.BinOp(left=left, op=ast.Mult() | ast.MatMult() as op, right=right):
            scalar = isinstance(left, ast.Name) and left.id == "lr"
            sign = "\u2299" if isinstance(op, ast.Mult) and not scalar else "\u2062"
            return (
                f'<mrow>{factor(left)}<mo rspace="0.25em" lspace="0.25em">{sign}</mo>{factor(right)}</mrow>'
            )
    raise TypeError(f"expected a part of an equation, got {ast.unparse(node)}")


def meaning(name: str) -> str:
    """Describe an array in words.

    Args:
        name: Name in the equations.

    Returns:
        A phrase such as `gradient of the loss with respect to the recurrent weights of the reset gate`.
    """
    if name in MEANINGS:
        return MEANINGS[name]
    if name.endswith("_new"):
        return f"{meaning(name.removesuffix('_new'))}, after the update"
    if name.startswith("d"):
        return f"gradient of the loss with respect to the {meaning(name[1:])}"
    base, _, gate = name.partition("_")
    words = PARAMETERS.get(base, "pre-activation")
    return f"{words} of the {MEANINGS[gate]}" if gate else words
