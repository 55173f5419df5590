"""Figures of a run's diagnostics, distinguishable in black and white by line style and marker."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.common.job_result import GradientFile
from src.plots.run import new_figure
from src.rnn.parameters import Array

LINES = (("0.6", ":", "o"), ("0.45", "-.", "s"), ("0.3", "--", "^"), ("0.15", "-", "v"), ("k", "-", "D"))
PANELS = 4  # layers shown, of a deeper network the lowest and the highest among them
STATES = ("h", "c")


def layer_panels(count: int, states: int = 1) -> tuple[Figure, list[int], list[list[Axes]]]:
    """A figure with a row of axes for each state and a column for each shown layer; which layers these are;
    its axes. count: the number of layers."""
    layers = select_layers(count, PANELS)
    size = (3.4 * len(layers) + 3.2, 2.9 * states + 1.3)
    figure, axes = new_figure(*size, states, len(layers), sharex=True, sharey="row")
    for ax, layer in zip(axes, layers * states, strict=True):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if count > 1 and ax in axes[: len(layers)]:
            ax.set_title(f"layer {layer + 1}")
    return figure, layers, [axes[k : k + len(layers)] for k in range(0, len(axes), len(layers))]


def select_layers(count: int, most: int) -> list[int]:
    """At most so many of the places 0 to count - 1, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def select_steps(steps: list[int], kept: int) -> list[int]:
    """At most five steps to draw: the first, then closer together at the beginning, where most happens, up to
    that of the kept weights."""
    until = [step for step in steps if step <= kept]
    places = np.unique(np.geomspace(1, len(until), len(LINES)).round().astype(int) - 1).tolist()
    return [until[place] for place in places]


def gradient_through_time(file: GradientFile, kept: int) -> Figure:
    """Plot the gradient norms of a gradient_through_time.json. kept: the step of the kept weights."""
    curves = {row["step"]: row["norms"] for row in file["steps"]}
    steps, some = select_steps(sorted(curves), kept), next(iter(curves.values()))
    figure, layers, axes = layer_panels(len(some), len(some[0]))
    for state, row in enumerate(axes):
        row[0].set_ylabel(f"mean norm of $\\partial L_T / \\partial {STATES[state]}_{{T-k}}$ [nats]")
        for layer, ax in zip(layers, row, strict=True):
            for step, (color, style, marker) in zip(steps, LINES[-len(steps) :], strict=True):
                norms = curves[step][layer][state]
                points = [(k, n) for k, n in zip(file["distances"], norms, strict=True) if n]
                note = " (best weights)" if step == kept else " (before training)" if step == 0 else ""
                ax.semilogy(
                    *zip(*points, strict=True) if points else ([], []),
                    color=color, linestyle=style, marker=marker, markersize=4, label=f"step {step}{note}",
                    markevery=max(1, len(points) // 10),
                )  # fmt: skip
    for ax in axes[-1]:
        ax.set_xlabel("distance k to the loss [characters]")
    axes[0][-1].legend()
    figure.suptitle("Gradient norm by distance to the loss", fontsize=11)
    return figure


def singular_values(before: list[Array] | None, kept: list[Array], gated: bool) -> Figure:
    """before, kept: the singular values of each layer's recurrent matrix, largest first; None for weights
    that are not known. gated: whether that is the candidate's block of a gated cell."""
    figure, layers, axes = layer_panels(len(kept))
    axes[0][0].set_ylabel("singular value of wh" + (", candidate block" if gated else ""))
    for layer, ax in zip(layers, axes[0], strict=True):
        for values, style, color, name in (
            (before, "--", "0.5", "before training"),
            (kept, "-", "k", "best weights"),
        ):
            if values is not None:
                ax.plot(range(1, values[layer].size + 1), values[layer], style, color=color, label=name)
        ax.axhline(1, color="k", linewidth=0.8, linestyle=":")
        ax.set_xlabel("rank")
        ax.set_ylim(bottom=0)
    axes[0][-1].legend()
    figure.suptitle("Singular values of the recurrent matrix wh", fontsize=11)
    return figure
