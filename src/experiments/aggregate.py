"""Statistics over the seeds of an experiment's jobs, and the axes that several figures share."""

from collections.abc import Iterable, Sequence
from math import inf, isfinite, nan
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from src.common.job_result import JobResult

Measures = dict[str, float]


def where(results: Iterable[JobResult], **swept: str) -> list[JobResult]:
    """The results with these swept values."""
    return [result for result in results if all(result.swept.get(key) == v for key, v in swept.items())]


def swept(results: Iterable[JobResult], key: str) -> list[str]:
    """The values of a swept key: numbers in order (null last), words in the order of the jobs."""
    distinct = list(dict.fromkeys(result.swept[key] for result in results if key in result.swept))
    try:
        return sorted(distinct, key=lambda value: inf if value == "null" else float(value))
    except ValueError:
        return distinct


def to_frame(results: Iterable[JobResult]) -> pd.DataFrame:
    """A row for each job: its swept keys as text, and the finite metrics of a finished job."""
    return pd.DataFrame(
        [
            {key: value for key, value in result.metrics.items() if isfinite(value)} | result.swept
            if result.status == "FINISHED"
            else result.swept
            for result in results
        ]
    )


def values(results: Iterable[JobResult], metric: str) -> list[float]:
    """The finite values of a metric, of the finished jobs."""
    frame = to_frame(results)
    return [float(value) for value in frame[metric].dropna()] if metric in frame else []


def mean(results: Iterable[JobResult], metric: str) -> float:
    """The mean of a metric; infinite where no job has it, so that no claim passes."""
    found = values(results, metric)
    return float(pd.Series(found).mean()) if found else inf


def seed_stats(results: Sequence[JobResult], by: str, metric: str) -> pd.DataFrame:
    """Mean and standard deviation of a metric over the jobs with the same value of a swept key.

    Args:
        results: The jobs.
        by: The swept key.
        metric: The metric's name.

    Returns:
        Indexed by the values of the key, in the order of `swept`. mean: infinite where no job has the metric,
        so that no claim passes. std: of the sample (n - 1); 0 for a single value.
    """
    frame = to_frame(results)
    if metric not in frame:
        frame[metric] = nan
    stats = frame.groupby(by)[metric].agg(["mean", "std"]).reindex(swept(results, by))
    return stats.fillna({"mean": inf, "std": 0.0})


def plot_variants(
    ax: Axes,
    results: Sequence[JobResult],
    metric: str,
    offset: float = 0.0,
    mark: str = "o",
    label: str | None = None,
    **style: Any,
) -> None:
    """Plot a metric by the swept `variant`: a mark for each seed, a line at their mean.

    Args:
        ax: The axes, whose ticks become the names of the variants.
        results: The jobs.
        metric: The metric's name.
        offset: Added to the positions 0, 1, ... of the variants.
        mark: The marker.
        label: The entry of the legend.
        style: More arguments of `Axes.plot` for the marks.
    """
    variants = swept(results, "variant")
    for x, variant in enumerate(variants):
        seeds, at = where(results, variant=variant), x + offset
        points, average = values(seeds, metric), mean(seeds, metric)
        style["label"] = label if x == 0 else None
        ax.plot([at] * len(points), points, "k" + mark, markersize=5, **style)
        ax.plot([at - 0.12, at + 0.12], [average, average], "k-", linewidth=2)
    ax.set_xticks(range(len(variants)), [short_name(variant) for variant in variants])


def short_name(variant: str) -> str:
    """`lstm` of `cells/lstm`."""
    return variant.rpartition("/")[2]


def log2_axis(ax: Axes, values: Sequence[str]) -> None:
    """Make the x-axis logarithmic, with these ticks and no others."""
    ax.set_xscale("log")
    ax.set_xticks([float(value) for value in values], list(values))
    ax.minorticks_off()
