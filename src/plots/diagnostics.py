"""Figures of a run's diagnostics, distinguishable in black and white by line style and marker."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.common.job_result import GradientFile
from src.rnn.parameters import Array

LINES = (("0.6", ":", "o"), ("0.45", "-.", "s"), ("0.3", "--", "^"), ("0.15", "-", "v"), ("k", "-", "D"))
PANELS = 4  # layers shown, of a deeper network the lowest and the highest among them
STATES = ("h", "c")


def panels(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows by columns axes that share their scales."""
    figure = Figure(figsize=(3.4 * columns + 3.2, 2.9 * rows + 1.3), layout="constrained")
    made = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    for ax in made.flat:
        ax.grid(alpha=0.3)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, made.tolist()


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
    layers = select_layers(len(some), PANELS)
    figure, axes = panels(len(some[0]), len(layers))
    for state, row in enumerate(axes):
        row[0].set_ylabel(f"mean norm of $\\partial L_T / \\partial {STATES[state]}_{{T-k}}$ [nats]")
        for layer, ax in zip(layers, row, strict=True):
            for step, (color, style, marker) in zip(steps, LINES[-len(steps) :], strict=True):
                norms = curves[step][layer][state]
                points = [(k, n) for k, n in zip(file["distances"], norms, strict=True) if n]
                name = f"step {step}" + (
                    " (best weights)" if step == kept else " (before training)" if step == 0 else ""
                )
                ax.semilogy(
                    *zip(*points, strict=True) if points else ([], []),
                    color=color, linestyle=style, marker=marker, markersize=4, label=name,
                    markevery=max(1, len(points) // 10),
                )  # fmt: skip
            if len(some) > 1 and state == 0:
                ax.set_title(f"layer {layer + 1}")
            if state == len(some[0]) - 1:
                ax.set_xlabel("distance k to the loss [characters]")
    axes[0][-1].legend()
    figure.suptitle("Gradient norm by distance to the loss", fontsize=11)
    return figure


def singular_values(before: list[Array] | None, kept: list[Array], gated: bool) -> Figure:
    """before, kept: the singular values of each layer's recurrent matrix, largest first; None for weights
    that are not known. gated: whether that is the candidate's block of a gated cell."""
    layers = select_layers(len(kept), PANELS)
    figure, axes = panels(1, len(layers))
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
        if len(kept) > 1:
            ax.set_title(f"layer {layer + 1}")
    axes[0][-1].legend()
    figure.suptitle("Singular values of the recurrent matrix wh", fontsize=11)
    return figure
