"""The jobs of an experiment by what was swept: arms, their means and their spread.

What several figures of experiments are drawn with.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import mean, stdev
from typing import Any

from matplotlib.axes import Axes

from src.common.job_result import JobResult

Measures = dict[str, float]


def where(rows: Iterable[JobResult], **swept: str) -> list[JobResult]:
    """The rows with these swept values."""
    return [row for row in rows if all(row.swept.get(key) == value for key, value in swept.items())]


def swept(rows: Iterable[JobResult], key: str) -> list[str]:
    """The values of a key, numbers in their order (null, for `off`, last), words in that of the jobs."""
    found = list(dict.fromkeys(row.swept[key] for row in rows if key in row.swept))
    try:
        return sorted(found, key=lambda value: float("inf") if value == "null" else float(value))
    except ValueError:
        return found


def values(rows: Iterable[JobResult], metric: str) -> list[float]:
    """Of the finished rows, where it is a number."""
    found = [row.metrics[metric] for row in rows if row.status == "FINISHED" and metric in row.metrics]
    return [value for value in found if isfinite(value)]


def average(rows: Iterable[JobResult], metric: str) -> float:
    """The mean over the finished rows; infinite where there is none: no claim holds of nothing."""
    found = values(rows, metric)
    return mean(found) if found else float("inf")


def spread(rows: Iterable[JobResult], metric: str) -> float:
    """The sample's standard deviation, 0 for a single value."""
    found = values(rows, metric)
    return stdev(found) if len(found) > 1 else 0.0


def dots(ax: Axes, x: float, points: Sequence[float], mean: float, mark: str = "o", **options: Any) -> None:
    """An arm at x: a mark for each seed, a line at their mean."""
    ax.plot([x] * len(points), points, "k" + mark, markersize=5, **options)
    ax.plot([x - 0.12, x + 0.12], [mean, mean], "k-", linewidth=2)


def sizes(ax: Axes, values: Sequence[str]) -> None:
    """A logarithmic axis with these ticks and no others."""
    ax.set_xscale("log")
    ax.set_xticks([float(value) for value in values], list(values))
    ax.minorticks_off()
