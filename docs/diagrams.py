"""Draws the diagrams of docs/ as SVG: the unrolled network, the flow of the gradient, the gates.

    python -m docs.figures      (draws them with the other figures)

The same code and version of matplotlib give the same file. An SVG contains its title and a description.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

INK, PALE, FONT = "0.1", "0.5", 11
BUS = -0.35  # y of the line that leads x_t to the gates
Point = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A shape with a text; arrows begin and end at its border."""

    at: Point
    patch: Patch


class Canvas:
    """Axes without ticks, on which nodes and arrows are drawn; one unit is one inch."""

    def __init__(self, width: float, height: float, origin: Point = (0, 0)) -> None:
        self.figure = Figure(figsize=(width, height))
        self.ax: Axes = self.figure.add_axes((0, 0, 1, 1))
        x, y = origin
        self.ax.set(xlim=(x, x + width), ylim=(y, y + height))
        self.ax.axis("off")

    def text(self, at: Point, text: str, **options: Any) -> None:
        self.ax.text(*at, text, **{"ha": "center", "va": "center", "fontsize": FONT, "color": INK, **options})

    def box(
        self, at: Point, text: str, width: float = 0.62, height: float = 0.4, face: str = "white"
    ) -> Node:
        corner = (at[0] - width / 2, at[1] - height / 2)
        style = "round,pad=0,rounding_size=0.06"
        return self._node(at, text, FancyBboxPatch(corner, width, height, style, facecolor=face))

    def circle(self, at: Point, text: str, radius: float = 0.16, face: str = "white") -> Node:
        return self._node(at, text, Circle(at, radius, facecolor=face))

    def _node(self, at: Point, text: str, patch: Patch) -> Node:
        patch.set(edgecolor=INK, linewidth=1.2, zorder=3)
        self.ax.add_patch(patch)
        self.text(at, text, zorder=4)
        return Node(at, patch)

    def arrow(
        self, start: Node | Point, end: Node | Point, text: str = "", at: Point = (0, 0), **options: Any
    ) -> None:
        """Draw an arrow. at: place of the text, relative to the middle of the arrow."""
        ends = [node.at if isinstance(node, Node) else node for node in (start, end)]
        patches = [node.patch if isinstance(node, Node) else None for node in (start, end)]
        shape: dict[str, Any] = {"color": INK, "linewidth": 1.2, "arrowstyle": "-|>", "mutation_scale": 11}
        shape |= {"shrinkA": 1.5, "shrinkB": 1.5} | options
        self.ax.add_patch(FancyArrowPatch(*ends, patchA=patches[0], patchB=patches[1], **shape))
        if text:
            middle = (sum(x for x, _ in ends) / 2 + at[0], sum(y for _, y in ends) / 2 + at[1])
            self.text(middle, text, fontsize=FONT - 1, color=shape["color"])

    def line(self, *points: Point, **options: Any) -> None:
        """Draw a line without a head."""
        self.ax.plot(*zip(*points, strict=True), **{"color": INK, "linewidth": 1.2, **options})


def unrolled_network() -> Figure:
    """The unrolled network: a character and the previous hidden state give the next hidden state.

    Four time steps of a network that reads "hell" and predicts "ello". From the bottom to the top, an
    arrow with the weights wx leads from each character to a hidden state, and an arrow with wy from there
    to the probabilities of the next character, which are compared with the target. From left to right, an
    arrow with wh leads from each hidden state to the next, beginning with h0. All time steps have the
    same weights.
    """
    c = Canvas(7.2, 3.2, (-1.3, -0.55))
    before = c.box((-0.9, 1), "$h_0$")
    for t, (character, target) in enumerate(zip("hell", "ello", strict=True), start=1):
        x = 1.45 * (t - 1) + 0.45
        read = c.box((x, 0), f"“{character}”", face="0.92")
        hidden = c.box((x, 1), f"$h_{t}$")
        predicted = c.box((x, 2), f"$p_{t}$")
        c.arrow(read, hidden, "$w_x$", (0.22, 0))
        c.arrow(hidden, predicted, "$w_y$", (0.22, 0))
        c.arrow(before, hidden, "$w_h$", (0, 0.17))
        c.text((x, 2.45), f"target “{target}”", fontsize=FONT - 1)
        c.text((x, -0.38), f"$t = {t}$", fontsize=FONT - 1)
        before = hidden
    c.arrow(before, (5.8, 1), color=PALE)
    return c.figure


def gradient_through_time() -> Figure:
    """The flow of the gradient: from each loss to its hidden state, and from there back in time.

    The network of three time steps, with the arrows of the forward pass in gray. Black dashed arrows show
    the gradient. It flows from the loss down to each hidden state, multiplied by the transposed wy, and
    from each hidden state to the one before it, multiplied by the slope 1 - h squared and by the
    transposed wh. At each hidden state both gradients are added. The gradient of the weights is the sum
    over the time steps.
    """
    c = Canvas(7.2, 3.1, (-1.15, -0.6))
    before = c.box((-0.75, 1), "$h_0$")
    back: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.5}
    for t in (1, 2, 3):
        x = 2.2 * (t - 1) + 0.75
        read = c.box((x, 0), f"$x_{t}$", face="0.92")
        hidden, _ = c.box((x, 1), f"$h_{t}$"), c.box((x, 2.2), rf"$\mathcal{{L}}_{t}$")
        low, high = (x - 0.12, 1.2), (x - 0.12, 2.0)
        c.arrow((read.at[0], 0.2), (x, 0.8), color=PALE)
        c.arrow(low, high, color=PALE)
        c.arrow((before.at[0] + 0.31, 1.1), (x - 0.31, 1.1), color=PALE)
        c.arrow((x + 0.12, 2.0), (x + 0.12, 1.2), rf"$\mathrm{{d}}z_{t}\, w_y^\top$", (0.52, 0), **back)
        if t > 1:
            c.arrow((x - 0.31, 0.9), (before.at[0] + 0.31, 0.9), **back)
            middle = (x + before.at[0]) / 2
            c.text((middle, 0.66), rf"$\mathrm{{d}}a_{t}\, w_h^\top$", fontsize=FONT - 1)
            c.text((middle, 1.3), "$w_h$", fontsize=FONT - 1, color=PALE)
        c.text((x, -0.42), rf"$\mathrm{{d}}a_{t} = \mathrm{{d}}h_{t} \odot (1 - h_{t}^2)$", fontsize=FONT - 1)
        before = hidden
    c.text((-0.72, 0.66), "(constant)", fontsize=FONT - 2, color=PALE)
    return c.figure


def gru_gates() -> Figure:
    """The gates of the GRU: the state takes a path without a matrix, which the update gate z scales.

    On the thick line at the top, the previous state h is multiplied by the update gate z, and the
    candidate n times 1 - z is added; the sum is the new state. At the bottom, the input x and the
    previous state lead to the reset gate r and the update gate z (sigmoid), and the state leads to q. The
    candidate n is the tanh of the input and of r times q.
    """
    c = Canvas(7.2, 3.7, (-0.5, -0.65))
    state, new = c.box((0, 2.7), "$h_{t-1}$"), c.box((6.3, 2.7), "$h_t$")
    keep, add = c.circle((1.3, 2.7), r"$\odot$"), c.circle((5.2, 2.7), "$+$")
    z, r = c.box((1.3, 0.9), r"$z$  $\sigma$", face="0.85"), c.box((2.5, 0.9), r"$r$  $\sigma$", face="0.85")
    q, n = c.box((3.7, 0.9), "$q$"), c.box((5.2, 1.5), "$n$  tanh", 0.8)
    reset, replace = c.circle((3.1, 1.5), r"$\odot$"), c.circle((5.2, 2.12), r"$\odot$")
    for start, end in ((state, keep), (keep, add), (add, new)):
        c.arrow(start, end, linewidth=3, mutation_scale=14)
    c.arrow(z, keep)
    c.arrow((1.3, 2.12), replace, "$1 - z$", (0, 0.15))
    c.arrow(replace, add)
    c.arrow(n, replace)
    c.arrow(r, reset)
    c.arrow(q, reset)
    c.arrow(reset, n)
    inputs(c, state, (1.3, 2.5, 3.7), (1.3, 2.5))
    c.line((2.6, BUS), (5.2, BUS))
    c.arrow((5.2, BUS), n, shrinkA=0)
    return c.figure


def inputs(c: Canvas, state: Node, of_state: tuple[float, ...], of_x: tuple[float, ...]) -> None:
    """Draw x_t and two lines at the bottom, for h_{t-1} and x_t, with arrows to the gates at these places."""
    c.line((0, state.at[1] - 0.2), (0, 0.1), (of_state[-1] - 0.1, 0.1))
    c.box((0, BUS), "$x_t$", face="0.92")
    c.line((0.31, BUS), (of_x[-1] + 0.1, BUS))
    for x in of_state:
        c.arrow((x - 0.1, 0.1), (x - 0.1, 0.7), shrinkA=0)
    for x in of_x:
        crosses = x < of_state[-1]  # the line of h: with a gap
        c.line((x + 0.1, BUS), (x + 0.1, 0.02))
        c.arrow((x + 0.1, 0.18 if crosses else 0.02), (x + 0.1, 0.7), shrinkA=0)


def lstm_gates() -> Figure:
    """The gates of the LSTM: the cell state takes a path without a matrix, which the forget gate f scales.

    On the thick line at the top, the previous cell state c is multiplied by the forget gate f, and the
    input gate i times the candidate g is added; the sum is the new cell state. The tanh of the cell state
    times the output gate o is the new hidden state h. All gates (sigmoid) and the candidate (tanh) get
    the input x and the previous hidden state.
    """
    c = Canvas(7.6, 3.9, (-0.5, -0.65))
    cell, new_cell = c.box((0, 2.9), "$c_{t-1}$"), c.box((6.7, 2.9), "$c_t$")
    state, new_state = c.box((0, 1.9), "$h_{t-1}$"), c.box((6.7, 0.9), "$h_t$")
    forget, add = c.circle((1.3, 2.9), r"$\odot$"), c.circle((3.1, 2.9), "$+$")
    f, i, o = (
        c.box((x, 0.9), rf"${name}$  $\sigma$", face="0.85")
        for x, name in ((1.3, "f"), (2.5, "i"), (4.9, "o"))
    )
    g, write = c.box((3.7, 0.9), "$g$  tanh", 0.8), c.circle((3.1, 1.9), r"$\odot$")
    tanh, output = c.box((5.8, 1.9), "tanh"), c.circle((5.8, 0.9), r"$\odot$")
    for start, end in ((cell, forget), (forget, add), (add, new_cell)):
        c.arrow(start, end, linewidth=3, mutation_scale=14)
    c.arrow(f, forget)
    c.arrow(i, write)
    c.arrow(g, write)
    c.arrow(write, add)
    c.arrow((5.8, 2.9), tanh)
    c.arrow(tanh, output)
    c.arrow(o, output)
    c.arrow(output, new_state)
    inputs(c, state, (1.3, 2.5, 3.7, 4.9), (1.3, 2.5, 3.7, 4.9))
    return c.figure


DIAGRAMS: tuple[Callable[[], Figure], ...] = (unrolled_network, gradient_through_time, gru_gates, lstm_gates)


def svg(draw: Callable[[], Figure]) -> str:
    """Return a diagram as SVG; its title and description are the docstring of its function."""
    summary, _, rest = (draw.__doc__ or "").partition("\n\n")
    title, description = summary.partition(":")[0], f"{summary} {rest}"
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": draw.__name__, "mathtext.fontset": "dejavusans"}):
        draw().savefig(out, format="svg", metadata={"Title": title, "Date": None})
    desc = f"</title>\n <desc>{escape(' '.join(description.split()))}</desc>"
    text = out.getvalue().replace("</title>", desc, 1).replace("<svg ", '<svg role="img" ', 1)
    return "\n".join(line.rstrip() for line in text.split("\n"))
