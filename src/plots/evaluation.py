"""Figures of an evaluation: axes with units, readable in black and white."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.evaluation.error_analysis import Bin, expected_calibration_error
from src.evaluation.evaluate import Evaluation
from src.evaluation.text_quality import TextMetrics
from src.plots.training import save


def reliability(bins: list[Bin], path: Path) -> None:
    """The share that was right against the confidence; below, how many predictions each bin holds."""
    figure = Figure(figsize=(5.5, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    width = bins[0].high - bins[0].low
    centers = [(b.low + b.high) / 2 for b in bins]
    top.bar(centers, [b.accuracy for b in bins], width, color="0.8", edgecolor="k", label="right")
    top.plot([b.confidence for b in bins], [b.accuracy for b in bins], "ko", markersize=4, label="bin's mean")
    top.plot([0, 1], [0, 1], "k--", linewidth=1, label="calibrated")
    top.set_ylabel("share of predictions that were right")
    top.set_title(f"expected calibration error {expected_calibration_error(bins):.1%}")
    top.set_ylim(0, 1)
    top.legend(loc="upper left")
    bottom.bar(centers, [b.count for b in bins], width, color="0.8", edgecolor="k")
    bottom.set_ylabel("predictions")
    bottom.set_xlabel("confidence: probability of the likeliest character")
    bottom.set_xlim(0, 1)
    save(figure, path)


def loss_by_position(evaluation: Evaluation, path: Path) -> None:
    """How fast the state warms up: the loss against how much was read since the reset."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.add_subplot()
    groups = evaluation.by_window
    ax.plot([int(g.name) for g in groups], [g.bpc for g in groups], "k-o", markersize=3, label="state reset")
    ax.axhline(evaluation.stateful.bpc, color="k", linestyle="--", linewidth=1, label="state carried, mean")
    ax.axhline(evaluation.baselines["unigram"], color="k", linestyle=":", label="unigram")
    ax.set_xlabel("characters read since the state was reset")
    ax.set_ylabel("loss [bits per character]")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    save(figure, path)


def quality_vs_temperature(judged: list[TextMetrics], path: Path) -> None:
    """The measures of the written texts against the temperature, the held-out text's as thin lines."""
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    shares, copies = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    written = [(j.temperature, j) for j in judged if j.temperature is not None]
    held_out = [j for j in judged if j.temperature is None]
    for name, style, words in (
        ("known_words", "k-o", "known words"),
        ("distinct_2", "k--s", "distinct pairs of words"),
        ("repetition", "k:^", "repeated runs of four words"),
    ):
        points = [(t, value) for t, j in written if (value := getattr(j, name)) is not None]
        if points:
            shares.plot(*zip(*points, strict=True), style, markersize=4, linewidth=1, label=words)
        for j in held_out:
            if (value := getattr(j, name)) is not None:
                shares.axhline(value, color="0.5", linestyle=style[1:-1], linewidth=0.8)
    shares.set_ylabel("share")
    shares.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    shares.set_ylim(-0.02, 1.02)
    copies.plot(
        [t for t, _ in written], [j.longest_match for _, j in written], "k-o", markersize=4, linewidth=1
    )
    for j in held_out:
        copies.axhline(j.longest_match, color="0.5", linewidth=0.8)
    copies.set_ylabel("longest passage copied\nfrom the training text\n[characters]")
    copies.set_ylim(bottom=0)
    copies.set_xlabel("temperature")
    of = f"texts of {written[0][1].characters:,} characters"
    shares.set_title(of + (f"; thin gray: as much of the {held_out[0].source}" if held_out else ""))
    for ax in (shares, copies):
        ax.grid(alpha=0.3)
    if shares.get_legend_handles_labels()[0]:  # a short text may have no whole word
        figure.legend(loc="outside lower center", ncols=3)
    save(figure, path)
