"""Figures of a run's diagnostics, distinguishable in black and white by line style and marker."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.common.job_result import GradientFile
from src.plots.run import new_figure
from src.rnn.parameters import Array

LINES = (("0.6", ":", "o"), ("0.45", "-.", "s"), ("0.3", "--", "^"), ("0.15", "-", "v"), ("k", "-", "D"))
PANELS = 4  # layers shown; of a deeper network, the lowest and the highest are among them
STATES = ("h", "c")


def layer_panels(count: int, states: int = 1) -> tuple[Figure, list[int], list[list[Axes]]]:
    """Create a figure with a row of axes for each state and a column for each shown layer.

    Args:
        count: Number of layers of the network.
        states: Number of state vectors of a layer: 1, or 2 for an LSTM (hidden state and cell state).

    Returns:
        The figure, the indices of the shown layers (from 0, at most PANELS), and the axes as rows.
    """
    layers = select_layers(count, PANELS)
    size = (3.4 * len(layers) + 3.2, 2.9 * states + 1.3)
    figure, axes = new_figure(*size, states, len(layers), sharex=True, sharey="row")
    for ax, layer in zip(axes, layers * states, strict=True):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if count > 1 and ax in axes[: len(layers)]:
            ax.set_title(f"layer {layer + 1}")
    return figure, layers, [axes[k : k + len(layers)] for k in range(0, len(axes), len(layers))]


def select_layers(count: int, most: int) -> list[int]:
    """Select evenly spaced layers, the first and the last among them.

    Args:
        count: Number of layers.
        most: Largest number of layers to select, >= 2.

    Returns:
        Indices from 0 to count - 1, ascending; all of them where `count` is at most `most`.
    """
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def select_steps(steps: list[int], kept: int) -> list[int]:
    """Select at most five steps to draw, from the first step to the step of the kept weights.

    They are closer together at the beginning, where most of the change happens.

    Args:
        steps: Optimizer steps with a measurement, ascending.
        kept: Optimizer step of the kept weights.

    Returns:
        The selected steps, ascending, none above `kept`.
    """
    until = [step for step in steps if step <= kept]
    places = np.unique(np.geomspace(1, len(until), len(LINES)).round().astype(int) - 1).tolist()
    return [until[place] for place in places]


def gradient_through_time(file: GradientFile, kept: int) -> Figure:
    """Plot the gradient norm against the distance to the loss, for several steps of the training.

    Args:
        file: Content of a gradient_through_time.json.
        kept: Optimizer step of the kept weights.

    Returns:
        A figure with a row for each state and a column for each shown layer; norms in nats, on a logarithmic
        axis.
    """
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
    """Plot the singular values of each layer's recurrent matrix `wh` against their rank.

    Args:
        before: Singular values before training, largest first, one array (H,) per layer; None where these
            weights are not known.
        kept: Singular values of the kept weights, in the same form.
        gated: Whether the matrix is the candidate block of a gated cell.

    Returns:
        A figure with a column for each shown layer.
    """
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
