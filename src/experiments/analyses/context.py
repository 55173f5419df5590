"""Benefit of longer backpropagation: score against window length for the three cells, and the reach of the
gradient."""

from collections.abc import Sequence
from math import exp, log
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, log2_axis, seed_stats, swept, where

MARKS = {"rnn": "o-", "gru": "s--", "lstm": "^:"}


def measures(results: list[JobResult]) -> Measures:
    """Bits per character on the test split by cell and window (stateful), and what the longest window
    gains over the shortest."""
    measured: Measures = {}
    for model in swept(results, "model"):
        lengths = swept(where(results, model=model), "seq_len")
        for length, average, _ in seed_stats(where(results, model=model), "seq_len", "test/bpc").itertuples():
            measured[f"{model}/{length}"] = average
        best = min(lengths, key=lambda length: measured[f"{model}/{length}"])
        measured[f"{model}/best"] = float(best)
        measured[f"{model}/gain"] = measured[f"{model}/{lengths[0]}"] - measured[f"{model}/{best}"]
    return measured


def gradient_reach(results: Sequence[JobResult]) -> list[tuple[int, float]]:
    """(k, norm of the gradient k characters before the loss over that at the loss): the geometric mean of the
    jobs that were probed, up to the first distance at which one of them has none above 0."""
    curves = [dict(result.gradient) for result in results if result.status == "FINISHED" and result.gradient]
    reach: list[tuple[int, float]] = []
    for k in sorted(set.intersection(*map(set, curves))) if curves else []:
        if min(curve[k] for curve in curves) <= 0:
            break
        reach.append((k, exp(fmean(log(curve[k] / curve[0]) for curve in curves))))
    return reach


def figure(results: list[JobResult]) -> Figure:
    """On the left the score over the window, a curve a cell, the standard deviation over seeds as bars.

    On the right, where jobs were probed, the gradient through time of those with the longest window.
    """
    longest = swept(results, "seq_len")[-1]
    reached = {
        model: gradient_reach(where(results, model=model, seq_len=longest))
        for model in swept(results, "model")
    }
    probed = any(reached.values())
    figure = Figure(figsize=(11 if probed else 7, 4), layout="constrained")
    axes = figure.subplots(1, 2 if probed else 1, squeeze=False)[0]
    draw_scores(axes[0], results)
    if probed:
        draw_reach(axes[1], reached, longest)
    figure.suptitle("Score and gradient norm by window length" if probed else "Score by window length")
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.legend()
    return figure


def draw_scores(ax: Axes, results: list[JobResult]) -> None:
    """The left half."""
    lengths = swept(results, "seq_len")
    for model in swept(results, "model"):
        stats = seed_stats(where(results, model=model), "seq_len", "test/bpc")
        ax.errorbar(
            [float(length) for length in stats.index],
            stats["mean"].to_list(),
            stats["std"].to_list(),
            fmt="k" + MARKS[model],
            capsize=3,
            label=model,
            markerfacecolor="w",
        )
    log2_axis(ax, lengths)
    ax.set_xlabel("window length [characters]")
    ax.set_ylabel("test split, stateful [bits per character]")


def draw_reach(ax: Axes, reached: dict[str, list[tuple[int, float]]], window: str) -> None:
    """The right half. reached: `gradient_reach` by cell; window: its length in characters."""
    for model, points in reached.items():
        if points:
            ax.semilogy(
                *zip(*points, strict=True), "k" + MARKS[model], label=model, markersize=5,
                markevery=max(1, len(points) // 10), markerfacecolor="w",
            )  # fmt: skip
    ax.set_xlabel(f"distance k to the loss [characters], windows of {window}")
    ax.set_ylabel(r"$\|\partial L_T / \partial h_{T-k}\|$, relative to k = 0")
