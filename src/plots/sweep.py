"""Figures of a sweep as SVG for a page, distinguishable in black and white."""

import io
import re
from html import escape
from itertools import accumulate, pairwise
from math import ceil, isfinite, log10
from pathlib import Path
from statistics import fmean, median_low
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.common.console import pluralize
from src.common.job_result import JobResult, SearchHistory
from src.plots.run import single_axes

LOSS = "[nats per character]"
DECADE = 10  # values this far apart are drawn on a logarithmic axis
LEGEND_LINE = 0.16  # inches
MARKERS = "os^vD<>p*hX"


def write_svg(figure: Figure, file: Path | io.StringIO, salt: str, transparent: bool = False) -> None:
    """Write a figure as SVG, byte for byte reproducible.

    Args:
        figure: The figure.
        file: Path or open text file to write to.
        salt: Text from which Matplotlib makes the ids in the SVG: the same figure and salt give the same
            bytes.
        transparent: Whether the figure has no ground of its own; otherwise it is white.
    """
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", metadata=metadata, transparent=transparent)


def svg(figure: Figure, salt: str, description: str, jobs: list[JobResult] | None = None) -> str:
    """Return a figure as an `<svg>` element for an HTML page, on a transparent ground.

    Its accessible name is the title of the figure and the description. An artist whose gid is `job-NUMBER`,
    or begins with `job-NUMBER-`, gets the name of this job.

    Args:
        figure: The figure, with a title.
        salt: Prefix of the element's ids, different for each figure of a page.
        description: What the figure shows, for a reader who cannot see it.
        jobs: Results of the jobs that are drawn as single artists; None (the default) for none.

    Returns:
        The element, without an XML declaration and without namespaces, which HTML does not need.
    """
    written = io.StringIO()
    write_svg(figure, written, salt, transparent=True)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text, count=2)  # HTML does not need them
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{salt}-", text)
    names = {f"{row.number}": escape(job_label(row)).replace(r"\$", "$") for row in jobs or ()}

    def name_job(match: re.Match[str]) -> str:
        number, focus = match[2], ' tabindex="0"' * (match[3] == "")
        return f'{match[1]} class="job" role="img" data-job="{number}" aria-label="{names[number]}"{focus}'

    text = re.sub(rf'(<g id="{salt}-job-(\d+)([^"]*)")', name_job, text)
    title = figure.get_suptitle() or figure.axes[0].get_title()
    role = "group" if jobs else "img"  # the parts of an image have no names of their own
    return text.replace("<svg", f'<svg role="{role}" aria-label="{escape(f"{title}: {description}")}"', 1)


def loss_curves(results: list[JobResult]) -> str:
    """Plot train/loss and val/loss of every job against the optimizer step.

    train/loss is dotted; val/loss is solid with a marker at each point.

    Args:
        results: Results of the jobs, the best first; the legend numbers them in this order.

    Returns:
        The `<svg>` element; "" where no job has a curve.
    """
    curves = [(r, finite_curve(r, "train/loss"), finite_curve(r, "val/loss")) for r in results]
    drawn = [(result, train, val) for result, train, val in curves if train[0] or val[0]]
    if not drawn:
        return ""
    labels = [f"{rank}: {job_label(result, 70)}" for rank, (result, _, _) in enumerate(drawn, 1)]
    columns = max(1, min(4, 110 // (max(map(len, labels)) + 8)))
    size = (9.5, 4.5 + LEGEND_LINE * (ceil(len(drawn) / columns) + 3))
    title = "Training and validation loss of each job"
    figure, ax = single_axes("optimizer step", f"loss {LOSS}", title, size)
    for rank, ((result, train, val), label) in enumerate(zip(drawn, labels, strict=True)):
        gid = f"job-{result.number}"
        color = "k" if rank == 0 else mpl.colormaps["viridis"](0.85 * rank / len(drawn))
        best: dict[str, Any] = {"linewidth": 1.1} if rank else {"linewidth": 2.2, "zorder": 3}
        ax.plot(*train, ":", color=color, linewidth=1, gid=f"{gid}-train")
        line = f"-{MARKERS[rank % len(MARKERS)]}"
        ax.plot(*val, line, color=color, markersize=4, label=label, gid=gid, **best)
    losses = [values for _, (_, train), (_, val) in drawn for values in (train, val) if values]
    # A diverged curve leaves the figure at its top, where it would otherwise flatten all others.
    top = 1.5 * median_low(values[0] for values in losses)
    if max(map(max, losses)) > top > 0:
        bottom = min(map(min, losses))
        ax.set_ylim(bottom - 0.05 * (top - bottom), top)
    handles, names = ax.get_legend_handles_labels()
    styles: list[Any] = [*ax.plot([], [], "k-o", markersize=4), *ax.plot([], [], "k:")]
    ax.legend(styles, ["val/loss", "train/loss (batches)"], loc="upper right")
    style: dict[str, Any] = {"ncols": columns, "fontsize": 8, "title_fontsize": 8}
    figure.legend(handles, names, loc="outside lower center", title="rank: job, val/loss", **style)
    description = f"{pluralize(len(drawn), 'job')}, the best {job_label(drawn[0][0])}"
    return svg(figure, "curves", description, results)


def finite_curve(result: JobResult, metric: str) -> tuple[list[int], list[float]]:
    """Return the finite points of a metric's curve.

    Args:
        result: Result of a job.
        metric: Name of the metric, for example `val/loss`.

    Returns:
        The optimizer steps and the values, of equal length; both empty without a curve.
    """
    points = [(step, value) for step, value in result.curves.get(metric, []) if isfinite(value)]
    return [step for step, _ in points], [value for _, value in points]


def job_label(result: JobResult, most: int = 1000) -> str:
    """Return the name of a job and its val/loss, for a figure.

    Args:
        result: Result of the job.
        most: Largest number of characters of the name.

    Returns:
        A line such as `hidden=64 clip=1, 2.2500`, with dollars escaped (`truncate`).
    """
    loss = f"{result.loss:.4f}" if isfinite(result.loss) else "no val/loss"
    return f"{truncate(result.name, most)}, {loss}"


def truncate(text: str, most: int) -> str:
    """Shorten a text for a figure, and escape what Matplotlib would read as mathematics.

    Args:
        text: Text to show.
        most: Largest number of characters, before escaping.

    Returns:
        The text, with an ellipsis at its end where it was cut.
    """
    return (text if len(text) <= most else text[: most - 1] + "\u2026").replace("$", r"\$")


def as_number(text: str) -> float | None:
    """Return a swept value as a number.

    Args:
        text: Value of a swept key, as typed.

    Returns:
        The number; None for a word, infinity or NaN.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def marginals(keys: list[str], results: list[JobResult]) -> str:
    """Plot val/loss against each swept key: a circle for each job, and a line through the mean of each value.

    Numbers are drawn on an axis, which is logarithmic if they span a decade or more; other values are drawn
    as categories. For the key `seed` only circles are drawn.

    Args:
        keys: Dotted names of the swept keys; keys that no finished job has are left out.
        results: Results of the jobs; only finished jobs with a finite val/loss are drawn.

    Returns:
        The `<svg>` element; "" where no finished job has both a swept key and a val/loss.
    """
    shown = [result for result in results if result.status == "FINISHED" and isfinite(result.loss)]
    keys = [key for key in keys if any(key in result.swept for result in shown)]
    if not keys:
        return ""
    across = min(3, len(keys))
    down = ceil(len(keys) / across)
    figure = Figure(figsize=(max(4.5, 3.3 * across), 3.0 * down), layout="constrained")
    losses = [result.loss for result in shown]
    description = []
    for place, key in enumerate(keys, 1):
        ax = figure.add_subplot(down, across, place)
        text = marginal(ax, key, [result for result in shown if key in result.swept])
        description.append(text)
        if spans_decade(losses):
            ax.set_yscale("log")
        if (place - 1) % across == 0:
            ax.set_ylabel(f"val/loss {LOSS}")
    longest = max(figure.get_axes(), key=lambda ax: len(ax.get_lines()))  # with a line of means, if any
    longest.legend(fontsize=8)
    figure.suptitle("val/loss by swept key", fontsize=11)
    return svg(figure, "marginals", "; ".join(description), results)


def search_history(history: SearchHistory) -> str:
    """Plot the value of each trial of a search, the best value so far, and the importance of each key.

    Args:
        history: The trials; at least one.

    Returns:
        The `<svg>` element.
    """
    numbers, values = zip(*history.points, strict=True)
    best = list(accumulate(values, max if history.maximized else min))
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        numbers, values, "o", label="trial", markerfacecolor="none", markeredgecolor="0.35", markersize=5
    )
    left.step(numbers, best, "k-", where="post", label="best so far")
    left.set(xlabel="trial", ylabel=history.objective, title="History")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    keys = list(reversed(history.importances))
    right.barh([truncate(key, 30) for key in keys], [history.importances[key] for key in keys], color="0.5")
    right.set(xlim=(0, 1), xlabel="importance (share)", title="Importance of each key")
    figure.suptitle("Trials of the search", fontsize=11)
    description = [f"best {history.objective} {best[-1]:.4f} of {pluralize(len(values), 'trial')}"]
    description += [f"importance of {key} {share:.2f}" for key, share in history.importances.items()]
    return svg(figure, "search", "; ".join(description))


def spans_decade(values: list[float]) -> bool:
    """Return whether values need a logarithmic axis.

    Args:
        values: Finite values, at least one.

    Returns:
        True if all are positive and the largest is at least DECADE times the smallest.
    """
    return min(values) > 0 and max(values) >= DECADE * min(values)


def marginal(ax: Axes, key: str, results: list[JobResult]) -> str:
    """Draw the axes of one swept key.

    Args:
        ax: Axes to draw on.
        key: Dotted name of the key.
        results: Results of the jobs with this key and a finite val/loss.

    Returns:
        The key and the mean val/loss of each of its values, in words.
    """
    points = [(result.swept[key], result.loss) for result in results]
    numbers = {text: as_number(text) for text, _ in points}
    places = {text: number for text, number in numbers.items() if number is not None}
    if len(places) < len(numbers):  # categories
        order = sorted(numbers, key=lambda text: (numbers[text] is None, numbers[text] or 0.0, text))
        places = {text: float(place) for place, text in enumerate(order)}
        shown = [truncate(text, 18) for text in order]
        long = sum(map(len, shown)) > 30
        ax.set_xticks(range(len(order)), shown, rotation=30 if long else 0, ha="right" if long else "center")
        ax.set_xlim(-0.5, len(order) - 0.5)
    else:
        if spans_decade(list(places.values())):
            ax.set_xscale("log")
        tick_numbers(ax, sorted(set(places.values())))
    groups: dict[float, list[float]] = {}
    for text, loss in points:
        groups.setdefault(places[text], []).append(loss)
    means = {x: fmean(groups[x]) for x in sorted(groups)}
    if key != "seed":  # a seed is no quantity: a line between two seeds has no meaning
        ax.plot(list(means), list(means.values()), "k-_", markersize=14, linewidth=1, label="mean")
    circle: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": "0.35", "markersize": 5}
    for (text, loss), result in zip(points, results, strict=True):
        ax.plot(places[text], loss, "o", gid=f"job-{result.number}-{key}", **circle)
    ax.get_lines()[-1].set_label("job")
    ax.set_xlabel(truncate(key, 40))
    ax.grid(alpha=0.3)
    names = {x: text for text, x in places.items()}
    return f"{key}: " + ", ".join(f"mean {mean:.4f} at {names[x]}" for x, mean in means.items())


def tick_numbers(ax: Axes, at: list[float]) -> None:
    """Set a tick at each value, where the values are few (at most six) and far enough apart.

    Args:
        ax: Axes whose x-axis is changed; its scale must be set already.
        at: Values, ascending and distinct.
    """
    places = [log10(x) for x in at] if ax.get_xscale() == "log" else at
    span = places[-1] - places[0]
    if len(at) <= 6 and all(b - a > 0.1 * span for a, b in pairwise(places)):
        ax.set_xticks(at, [f"{x:g}" for x in at])
        ax.set_xticks([], minor=True)
