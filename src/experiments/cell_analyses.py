"""Measures and figures of the experiments that compare cells: cells, context, karpathy2015, state."""

from collections.abc import Sequence
from math import exp, log
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.claims import Measures
from src.plots.run import new_figure, single_axes
from src.sweeps.seed_stats import mean, std, swept_values, values, where

STYLES = {"rnn": "ko-", "gru": "ks--", "lstm": "k^:"}
CONTEXTS = {"test": "stateful evaluation", "test_stateless": "stateless evaluation"}
# Test losses in nats that the table of Karpathy, Johnson and Li (2015) gives for one layer, by the LSTM size
# of equal parameters. Quoted from memory, not yet checked against the paper.
PAPER = {
    "lstm": {64: 1.449, 128: 1.277, 256: 1.189},
    "rnn": {64: 1.446, 128: 1.417, 256: 1.342},
    "gru": {64: 1.398, 128: 1.230, 256: 1.198},
}


def by_variant(results: list[JobResult]) -> dict[str, list[JobResult]]:
    """Group the jobs by their swept `variant`.

    Args:
        results: Results of the jobs.

    Returns:
        The jobs of each variant, by its short name: `lstm` for `cells/lstm`.
    """
    variants = swept_values(results, "variant")
    return {variant.rpartition("/")[2]: where(results, variant=variant) for variant in variants}


def plot_variants(
    ax: Axes, results: list[JobResult], metric: str, marker: str, offset: float = 0.0, **style: Any
) -> None:
    """Plot a metric by the swept `variant`: a marker for each seed, a line at their mean.

    Args:
        ax: The axes, whose ticks become the names of the variants.
        results: Results of the jobs.
        metric: Name of the metric.
        marker: Matplotlib marker of a seed.
        offset: Added to the positions 0, 1, ... of the variants.
        **style: Further arguments of `Axes.plot` for the markers.
    """
    variants = by_variant(results)
    for x, jobs in enumerate(variants.values()):
        points, at = values(jobs, metric), x + offset
        ax.plot([at] * len(points), points, "k" + marker, markersize=5, **style)
        ax.plot([at - 0.12, at + 0.12], [mean(jobs, metric)] * 2, "k-", linewidth=2)
        style["label"] = None  # one entry in the legend
    ax.set_xticks(range(len(variants)), list(variants))
    ax.grid(visible=False, axis="x")


def log2_axis(ax: Axes, values: Sequence[str]) -> None:
    """Make the x-axis logarithmic, with the given ticks and no others.

    Args:
        ax: Axes to change.
        values: Positions of the ticks as text, which is also their labels.
    """
    ax.set_xscale("log")
    ax.set_xticks([float(value) for value in values], list(values))
    ax.minorticks_off()


def measure_cells(results: list[JobResult]) -> Measures:
    """Measure the score of each cell: bits per character on the test split.

    Args:
        results: Results of the jobs.

    Returns:
        For each cell the mean score over seeds (`lstm/bpc`), its standard deviation (`lstm/deviation`), both
        in bits per character, and the mean training time (`lstm/seconds`).
    """
    measured: Measures = {}
    for cell, jobs in by_variant(results).items():
        measured |= {f"{cell}/bpc": mean(jobs, "test/bpc"), f"{cell}/deviation": std(jobs, "test/bpc")}
        measured[f"{cell}/seconds"] = mean(jobs, "train/seconds")
    return measured


def plot_cells(results: list[JobResult], _: Measures) -> Figure:
    """Plot the score of each cell: a marker for each seed, a line at their mean.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    ylabel = "test split, stateful [bits per character]"
    figure, ax = single_axes("cell, each with about 100,000 parameters", ylabel, "Score by cell", (6, 3.6))
    plot_variants(ax, results, "test/bpc", "o", markerfacecolor="none")
    return figure


def measure_state(results: list[JobResult]) -> Measures:
    """Measure the score for each initial state of a window: zero, of other windows, or of the preceding text.

    Args:
        results: Results of the jobs.

    Returns:
        For each variant, in bits per character: the mean over seeds on the test split (`VARIANT/test`
        stateful, `VARIANT/test_stateless`), the standard deviation of the stateful score
        (`VARIANT/deviation`), and the mean stateful score on the validation split (`VARIANT/val`).
    """
    measured: Measures = {}
    for name, jobs in by_variant(results).items():
        measured |= {f"{name}/{context}": mean(jobs, f"{context}/bpc") for context in CONTEXTS}
        measured[f"{name}/val"] = mean(jobs, "val/loss") / log(2)
        measured[f"{name}/deviation"] = std(jobs, "test/bpc")
    return measured


def plot_state(results: list[JobResult], _: Measures) -> Figure:
    """Plot the score of each variant in both contexts: a marker for each seed, a line at their mean.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    xlabel = (
        "initial state in training\n(reset: zero; shuffled: of other windows; streams: of the preceding text)"
    )
    title = "Score by initial state in training"
    figure, ax = single_axes(xlabel, "test split [bits per character]", title, (7, 3.6))
    for (context, label), marker, face, offset in zip(
        CONTEXTS.items(), "o^", ("k", "none"), (-0.15, 0.15), strict=True
    ):
        style = {"markerfacecolor": face, "alpha": 0.6, "label": label}
        plot_variants(ax, results, f"{context}/bpc", marker, offset, **style)
    ax.legend()
    return figure


def measure_context(results: list[JobResult]) -> Measures:
    """Measure the score by cell and window length, and the gain of the best window over the shortest.

    Args:
        results: Results of the jobs.

    Returns:
        For each model: the mean stateful score on the test split (`lstm/50`) and the gain (`lstm/gain`), both
        in bits per character, and the best window length in characters (`lstm/best`).
    """
    measured: Measures = {}
    for model in swept_values(results, "model"):
        jobs = where(results, model=model)
        lengths = swept_values(jobs, "seq_len")
        scores = {length: mean(where(jobs, seq_len=length), "test/bpc") for length in lengths}
        best = min(scores, key=scores.__getitem__)
        measured |= {f"{model}/{length}": score for length, score in scores.items()}
        measured |= {f"{model}/best": float(best), f"{model}/gain": scores[lengths[0]] - scores[best]}
    return measured


def gradient_reach(results: Sequence[JobResult]) -> list[tuple[int, float]]:
    """Compute how far the gradient reaches through time: the geometric mean over the jobs.

    Only finished jobs with diagnostics count. The result ends before the first distance at which one of them
    has no norm above 0.

    Args:
        results: Results of the jobs.

    Returns:
        Pairs (k, ratio): the norm of the gradient k characters before the loss, divided by the norm at the
        loss.
    """
    curves = [dict(result.gradient) for result in results if result.status == "FINISHED" and result.gradient]
    reach: list[tuple[int, float]] = []
    for k in sorted(set.intersection(*map(set, curves))) if curves else []:
        if min(curve[k] for curve in curves) <= 0:
            break
        reach.append((k, exp(fmean(log(curve[k] / curve[0]) for curve in curves))))
    return reach


def plot_context(results: list[JobResult], _: Measures) -> Figure:
    """Plot the score over the window length, a curve for each cell.

    Bars show the standard deviation over seeds. Where jobs have diagnostics, a second panel shows the
    gradient through time for the longest window.

    Args:
        results: Results of the jobs.

    Returns:
        The figure.
    """
    lengths, models = swept_values(results, "seq_len"), swept_values(results, "model")
    reach = {model: gradient_reach(where(results, model=model, seq_len=lengths[-1])) for model in models}
    with_reach = any(reach.values())
    figure, axes = new_figure(11 if with_reach else 7, 4, 1, 2 if with_reach else 1)
    for model in models:
        groups = [where(results, model=model, seq_len=length) for length in lengths]
        means, stds = ([f(group, "test/bpc") for group in groups] for f in (mean, std))
        bars: dict[str, Any] = {"fmt": STYLES[model], "capsize": 3, "label": model, "markerfacecolor": "w"}
        axes[0].errorbar([float(length) for length in lengths], means, stds, **bars)
    log2_axis(axes[0], lengths)
    axes[0].set(xlabel="window length [characters]", ylabel="test split, stateful [bits per character]")
    for model, points in reach.items() if with_reach else ():
        if points:
            spacing = max(1, len(points) // 10)
            style = {"label": model, "markersize": 5, "markevery": spacing, "markerfacecolor": "w"}
            axes[1].semilogy(*zip(*points, strict=True), STYLES[model], **style)
            axes[1].set_xlabel(f"distance k to the loss [characters], windows of {lengths[-1]}")
            axes[1].set_ylabel(r"$\|\partial L_T / \partial h_{T-k}\|$, relative to k = 0")
    figure.suptitle("Score and gradient norm by window length" if with_reach else "Score by window length")
    for ax in axes:
        ax.legend()
    return figure


def measure_karpathy2015(results: list[JobResult]) -> Measures:
    """Measure the test loss by cell and size, and its difference from the loss in the paper.

    Args:
        results: Results of the jobs.

    Returns:
        For each variant, in nats per character: the mean test loss (`lstm_64/loss`), and that loss minus the
        loss of Karpathy, Johnson and Li (2015) in PAPER (`lstm_64/over_paper`).
    """
    measured: Measures = {}
    for name, jobs in by_variant(results).items():
        cell, _, size = name.partition("_")
        measured[f"{name}/loss"] = mean(jobs, "test/loss")
        measured[f"{name}/over_paper"] = measured[f"{name}/loss"] - PAPER[cell][int(size)]
    return measured


def plot_karpathy2015(_: list[JobResult], measured: Measures) -> Figure:
    """Plot the measured losses (filled markers) and those of the paper (hollow markers) against the size.

    Args:
        measured: Measures of `measure_karpathy2015`, of some or all sizes.

    Returns:
        The figure.
    """
    xlabel = "size (units of an LSTM with the same number of parameters)"
    title = "Test loss on War and Peace, one layer"
    figure, ax = single_axes(xlabel, "test loss [nats per character]", title, (7.2, 4.6))
    for cell in ("rnn", "gru", "lstm"):
        marker, paper = STYLES[cell][:2], PAPER[cell]
        label = f"{cell}, paper (from memory)"
        ax.plot(list(paper), list(paper.values()), marker + ":", markerfacecolor="w", label=label)
        names = {size: f"{cell}_{size}/loss" for size in paper}
        ours = {size: measured[name] for size, name in names.items() if name in measured}
        if ours:
            ax.plot(list(ours), list(ours.values()), marker + "-", label=f"{cell}, measured")
    log2_axis(ax, ["64", "128", "256"])
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
