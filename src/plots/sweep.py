"""Figures of a sweep as SVG for a page: what is told apart is told apart in black and white, too."""

import io
from itertools import pairwise
from math import ceil, isfinite, log10
from pathlib import Path
from statistics import median_low
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.common.job_result import JobResult

LOSS = "[nats per character]"
DECADE = 10  # values this far apart are drawn on a logarithmic axis
LEGEND_LINE = 0.16  # inches


def write_svg(figure: Figure, file: Path | io.StringIO, salt: str) -> None:
    """Write a figure as SVG; the same figure and salt give the same bytes."""
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata=metadata)


def svg(figure: Figure, salt: str) -> str:
    """An <svg> to stand in HTML. salt: tells its ids from those of the page's other figures."""
    written = io.StringIO()
    write_svg(figure, written, salt)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    for attribute in ('xmlns="http://www.w3.org/2000/svg"', 'xmlns:xlink="http://www.w3.org/1999/xlink"'):
        text = text.replace(" " + attribute, "", 1)  # HTML knows them
    return (
        text.replace('id="', f'id="{salt}-')
        .replace('href="#', f'href="#{salt}-')
        .replace("url(#", f"url(#{salt}-")
    )


def finite_points(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and values, without what a diverged run left as inf or nan."""
    kept = [(step, value) for step, value in points if isfinite(value)]
    return [step for step, _ in kept], [value for _, value in kept]


def loss_curves(rows: list[JobResult]) -> str:
    """train/loss (dotted) and val/loss (solid, a marker at each point) of every job against the step.

    rows: the best first; each line carries its place at its end, which the legend names. "" without a curve.
    """
    drawn = [row for row in rows if any(finite_points(points)[0] for points in row.curves.values())]
    if not drawn:
        return ""
    columns = max(1, min(4, 110 // max(len(legend_label(1, row)) + 8 for row in drawn)))
    lines = ceil(len(drawn) / columns)
    height = max(4.5, 0.13 * len(drawn))
    figure = Figure(figsize=(9.5, height + LEGEND_LINE * (lines + 3)), layout="constrained")
    ax = figure.add_subplot()
    ax.set_xlabel("optimizer step")
    ax.set_ylabel(f"loss {LOSS}")
    ax.grid(alpha=0.3)
    named, ends, values = [], [], []
    for place, row in enumerate(drawn, 1):
        color = "k" if place == 1 else mpl.colormaps["viridis"](0.85 * (place - 1) / len(drawn))
        steps, losses = finite_points(row.curves.get("train/loss", []))
        ax.plot(steps, losses, ":", color=color, linewidth=1)
        values += losses
        marker = "os^vD<>p*hX"[(place - 1) % 11]
        steps, losses = finite_points(row.curves.get("val/loss", []))
        width = 2.2 if place == 1 else 1.1
        (line,) = ax.plot(
            steps,
            losses,
            "-",
            color=color,
            marker=marker,
            markersize=4,
            linewidth=width,
            zorder=3 if place == 1 else 2,
        )
        line.set_label(legend_label(place, row))
        named.append(line)
        values += losses
        if steps:
            ends.append((steps[-1], losses[-1], str(place)))
    began = [
        finite_points(points)[1][0]
        for row in drawn
        for points in row.curves.values()
        if finite_points(points)[1]
    ]
    # What diverges leaves the picture by its top, where it would else press all others flat.
    top = 1.5 * median_low(began)
    if max(values) > top > 0:
        ax.set_ylim(top=top)
    label_line_ends(ax, ends, 0.8 * height)
    styles: list[Any] = [*ax.plot([], [], "k-o", markersize=4), *ax.plot([], [], "k:")]
    ax.legend(styles, ["val/loss", "train/loss (batches)"], loc="upper right")
    figure.legend(
        handles=named,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        title="place, job, val/loss",
        title_fontsize=8,
    )
    return svg(figure, "curves")


def legend_label(place: int, row: JobResult) -> str:
    """A job's line in the legend."""
    loss = f"{row.loss:.4f}" if isfinite(row.loss) else "no val/loss"
    return f"{place}: {truncate(row.name, 70)}, {loss}"


def truncate(text: str, most: int) -> str:
    """At most so many characters, none of which matplotlib reads as mathematics."""
    return (text if len(text) <= most else text[: most - 1] + "\u2026").replace("$", r"\$")


def label_line_ends(ax: Axes, ends: list[tuple[int, float, str]], inches: float) -> None:
    """Each line's place in the right margin, pushed apart where they crowd, with a thread to the line's end.

    ends: the last step, value and place of each. inches: height of the axes. A line that ended early has its
    place where it ended.
    """
    size = 8 if len(ends) <= 25 else 6
    last = max((step for step, _, _ in ends), default=0)
    for step, loss, place in ends:
        if step < last:
            ax.annotate(place, (step, loss), (3, -3), textcoords="offset points", fontsize=size)
    full = [end for end in ends if end[0] == last]
    gap = min((size + 1.5) / (72 * inches), 1 / max(1, len(full)))
    low, high = ax.get_ylim()
    above = 1.0 + gap
    for left, (step, loss, place) in reversed(list(enumerate(sorted(full, key=lambda end: end[1])))):
        # As high as its end, but below the one above, and with room for those below.
        above = max(min((loss - low) / (high - low), above - gap), left * gap)
        ax.annotate(
            place,
            (step, min(loss, high)),
            (1.03, above),
            textcoords="axes fraction",
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
        )


def as_number(text: str) -> float | None:
    """A swept value as a number; None for a word, and for what is no finite number."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def marginals(keys: list[str], rows: list[JobResult]) -> str:
    """val/loss against each swept key: every job a circle, the mean of each value joined by a line.

    Numbers stand on an axis, logarithmic where they span a decade or more; anything else as categories.
    "" where no finished run has both.
    """
    shown = [row for row in rows if row.status == "FINISHED" and isfinite(row.loss)]
    keys = [key for key in keys if any(key in row.swept for row in shown)]
    if not keys:
        return ""
    across = min(3, len(keys))
    down = ceil(len(keys) / across)
    figure = Figure(figsize=(max(4.5, 3.3 * across), 3.0 * down), layout="constrained")
    losses = [row.loss for row in shown]
    for place, key in enumerate(keys, 1):
        ax = figure.add_subplot(down, across, place)
        marginal(ax, key, [(row.swept[key], row.loss) for row in shown if key in row.swept])
        if min(losses) > 0 and max(losses) > DECADE * min(losses):
            ax.set_yscale("log")
        if (place - 1) % across == 0:
            ax.set_ylabel(f"val/loss {LOSS}")
    figure.get_axes()[0].legend(fontsize=8)
    return svg(figure, "marginals")


def marginal(ax: Axes, key: str, points: list[tuple[str, float]]) -> None:
    """One key's axes. points: value as text and val/loss of each job."""
    numbers = {text: as_number(text) for text, _ in points}
    places: dict[str, float] = {text: number for text, number in numbers.items() if number is not None}
    if len(places) < len(numbers):  # categories
        order = sorted(numbers, key=lambda text: (numbers[text] is None, numbers[text] or 0.0, text))
        places = {text: float(place) for place, text in enumerate(order)}
        shown = [truncate(text, 18) for text in order]
        long = sum(map(len, shown)) > 30
        ax.set_xticks(range(len(order)), shown, rotation=30 if long else 0, ha="right" if long else "center")
        ax.set_xlim(-0.5, len(order) - 0.5)
    elif min(places.values()) > 0 and max(places.values()) >= DECADE * min(places.values()):
        ax.set_xscale("log")
    means: dict[float, list[float]] = {}
    for text, loss in points:
        means.setdefault(places[text], []).append(loss)
    at = sorted(means)
    if len(places) == len(numbers) and all(number is not None for number in numbers.values()):
        tick_numbers(ax, at)
    ax.plot(at, [sum(means[x]) / len(means[x]) for x in at], "k-_", markersize=14, linewidth=1, label="mean")
    ax.plot(
        [places[text] for text, _ in points],
        [loss for _, loss in points],
        "o",
        markerfacecolor="none",
        markeredgecolor="0.35",
        markersize=5,
        label="job",
    )
    ax.set_xlabel(truncate(key, 40))
    ax.grid(alpha=0.3)


def tick_numbers(ax: Axes, at: list[float]) -> None:
    """A tick at each value, where they are few and apart."""
    logarithmic = ax.get_xscale() == "log"
    places = [log10(x) for x in at] if logarithmic else at
    span = places[-1] - places[0]
    if len(at) <= 6 and all(b - a > 0.1 * span for a, b in pairwise(places)):
        ax.set_xticks(at, [f"{x:g}" for x in at])
        ax.set_xticks([], minor=True)
