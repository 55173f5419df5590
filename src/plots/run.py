"""Figures of a run's training and evaluation: axes with units, readable in black and white."""

from collections.abc import Mapping
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.common.files import write_atomically
from src.common.job_result import Curves
from src.evaluation.error_analysis import Bin, expected_calibration_error
from src.evaluation.evaluate import Evaluation
from src.evaluation.text_quality import TextMetrics

QUALITY = {  # text metrics, with their labels and styles
    "known_words": ("known words", "k-o"),
    "distinct_2": ("distinct pairs of words", "k--s"),
    "repetition": ("repeated sequences of four words", "k:^"),
    "longest_match": ("", "k-o"),
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, with 120 dots per inch.

    Args:
        figure: The figure.
        path: File to write, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **arguments: Any
) -> tuple[Figure, list[Axes]]:
    """Create a figure with a grid of axes.

    Args:
        width: Width of the figure in inches.
        height: Height of the figure in inches.
        rows: Number of rows of axes.
        columns: Number of columns of axes.
        **arguments: Further arguments of `Figure.subplots`.

    Returns:
        The figure and its axes, row by row.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False, **arguments).flatten().tolist()
    for ax in axes:
        ax.grid(alpha=0.3)
    return figure, axes


def single_axes(
    xlabel: str, ylabel: str, title: str, size: tuple[float, float] = (7, 4.2)
) -> tuple[Figure, Axes]:
    """Create a figure with one pair of axes.

    Args:
        xlabel: Label of the x-axis, with its unit.
        ylabel: Label of the y-axis, with its unit.
        title: Title above the axes.
        size: Width and height in inches.

    Returns:
        The figure and its axes.
    """
    figure, (ax,) = new_figure(*size)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(title, fontsize=11)
    return figure, ax


def plot_losses(curves: Curves, unigram_bpc: float, kept_step: int, path: Path) -> None:
    """Plot training and validation loss against the step, with the unigram model as a baseline.

    Args:
        curves: (step, value) points of `train/loss` and `val/loss`, in nats per character.
        unigram_bpc: Score of the unigram model in bits per character.
        kept_step: Optimizer step of the kept weights.
        path: PNG file to write.

    Raises:
        UserError: The file cannot be written.
    """
    title = "Training and validation loss"
    figure, ax = single_axes("optimizer step", "loss [nats per character]", title)
    ax.plot(*zip(*curves["train/loss"], strict=True), color="0.6", linewidth=1, label="training (batches)")
    ax.plot(*zip(*curves["val/loss"], strict=True), "k-o", markersize=3, label="validation")
    ax.axhline(unigram_bpc * log(2), color="k", linestyle=":", label="unigram baseline")
    ax.axvline(kept_step, color="k", linestyle="--", linewidth=0.8, label=f"best weights (step {kept_step})")
    to_bits, to_nats = partial(np.multiply, 1 / log(2)), partial(np.multiply, log(2))
    bits = ax.secondary_yaxis("right", functions=(to_bits, to_nats))
    bits.set_ylabel("loss [bits per character]")
    ax.legend()
    save(figure, path)


def plot_gradient_norms(curves: Curves, clip: float | None, clip_mode: str, path: Path) -> None:
    """Plot the norm of the gradient before clipping, and how often it was clipped.

    Args:
        curves: (step, value) points of `grad/norm` (nats per character) and `grad/clip_fraction` (0 to 1).
        clip: Clipping threshold; None without clipping.
        clip_mode: `norm` or `value`; only the threshold of `norm` is drawn, because it limits the plotted
            norm.
        path: PNG file to write.

    Raises:
        UserError: The file cannot be written.
    """
    ylabel = "gradient norm before clipping\n[nats per character]"
    figure, ax = single_axes("optimizer step", ylabel, "Gradient norm and clipping")
    ax.semilogy(*zip(*curves["grad/norm"], strict=True), "k-", linewidth=1, label="norm")
    if clip is not None and clip_mode == "norm":
        ax.axhline(clip, color="k", linestyle="--", linewidth=0.8, label=f"clip = {clip:g}")
    share, label = ax.twinx(), "share of clipped steps"
    share.plot(*zip(*curves["grad/clip_fraction"], strict=True), color="0.6", linestyle=":", label=label)
    share.set(ylabel=label, ylim=(-0.02, 1.02))
    lines = [*ax.get_lines(), *share.get_lines()]
    ax.legend(lines, [str(line.get_label()) for line in lines])
    save(figure, path)


def plot_reliability(bins: list[Bin], path: Path) -> None:
    """Plot accuracy against confidence, and below it the number of predictions in each bin.

    Args:
        bins: Bins of equal width over the confidence, at least one (`src.evaluation.error_analysis`).
        path: PNG file to write.

    Raises:
        UserError: The file cannot be written.
    """
    figure, (top, bottom) = new_figure(5.5, 6, 2, sharex=True, height_ratios=[3, 1])
    width = bins[0].high - bins[0].low
    centers = [(b.low + b.high) / 2 for b in bins]
    top.bar(centers, [b.accuracy for b in bins], width, color="0.8", edgecolor="k", label="accuracy")
    top.plot([b.confidence for b in bins], [b.accuracy for b in bins], "ko", markersize=4, label="bin mean")
    top.plot([0, 1], [0, 1], "k--", linewidth=1, label="perfect calibration")
    top.set(ylabel="accuracy (share of correct predictions)", ylim=(0, 1))
    error = f"expected calibration error {expected_calibration_error(bins):.1%}"
    top.set_title(f"Reliability diagram, {error}", fontsize=11)
    top.legend(loc="upper left")
    bottom.bar(centers, [b.count for b in bins], width, color="0.8", edgecolor="k")
    xlabel = "confidence (probability of the most likely character)"
    bottom.set(xlabel=xlabel, ylabel="predictions", xlim=(0, 1))
    save(figure, path)


def plot_loss_by_position(evaluation: Evaluation, path: Path) -> None:
    """Plot the loss against the number of characters read since the state was reset.

    Args:
        evaluation: Scores of the kept weights; `by_window` has the stateless scores by position.
        path: PNG file to write.

    Raises:
        UserError: The file cannot be written.
    """
    xlabel = "position in the window [characters since the state was reset]"
    figure, ax = single_axes(xlabel, "loss [bits per character]", "Loss by position in the window")
    groups = evaluation.by_window
    positions, losses = [int(g.name) for g in groups], [g.bpc for g in groups]
    ax.plot(positions, losses, "k-o", markersize=3, label="stateless evaluation")
    mean = evaluation.stateful.bpc
    ax.axhline(mean, color="k", linestyle="--", linewidth=1, label="stateful evaluation, mean")
    ax.axhline(evaluation.baselines["unigram"], color="k", linestyle=":", label="unigram baseline")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower right")
    save(figure, path)


def plot_quality(metrics: list[TextMetrics], path: Path) -> None:
    """Plot the metrics of generated texts against the temperature.

    Args:
        metrics: Metrics of the generated texts, at least one. An element without a temperature is a held-out
            text of the same length, which is drawn as thin lines.
        path: PNG file to write.

    Raises:
        UserError: The file cannot be written.
    """
    generated = [(m.temperature, m) for m in metrics if m.temperature is not None]
    held_out = next((m for m in metrics if m.temperature is None), None)
    measured = {
        name: {t: float(value) for t, m in generated if (value := getattr(m, name)) is not None}
        for name in QUALITY
    }
    title = f"Text metrics by temperature, {generated[0][1].characters:,} characters each"
    if held_out:
        title += f"\nthin gray: the same number of characters of the {held_out.source}"
    save(quality_figure(measured, title, held_out), path)


def quality_figure(
    measured: Mapping[str, dict[float, float]], title: str, held_out: TextMetrics | None = None
) -> Figure:
    """Draw text metrics over temperature: shares above, the longest copied passage below.

    Args:
        measured: Values by temperature, for each metric of QUALITY.
        title: Title of the figure.
        held_out: Metrics of a text that was not generated, drawn as thin lines; None for no such lines.

    Returns:
        The figure; shares from 0 to 1, the longest copied passage in characters.
    """
    figure, (shares, copies) = new_figure(7, 6.5, 2, sharex=True, height_ratios=[2, 1])
    for name, (label, style) in QUALITY.items():
        ax, points = shares if label else copies, measured[name]
        if points:
            ax.plot(list(points), list(points.values()), style, markersize=4, linewidth=1, label=label)
        if held_out and (value := getattr(held_out, name)) is not None:
            ax.axhline(value, color="0.5", linestyle=style[1:-1], linewidth=0.8)
    shares.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shares.set(ylabel="share", ylim=(-0.02, 1.02))
    shares.set_title(title, fontsize=11)
    copies.set(xlabel="temperature", ylabel="longest copied\npassage\n[characters]")
    copies.set_ylim(bottom=0)
    if shares.get_legend_handles_labels()[0]:  # a short text may have no whole word
        figure.legend(loc="outside lower center", ncols=3)
    return figure
