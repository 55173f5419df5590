"""Creativity against stability: what samples are like at temperatures from 0.1 to 2."""

from statistics import mean

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures

SHARES = {
    "known_words": ("known words", "ko-"),
    "distinct_2": ("distinct pairs of words", "ks--"),
    "repetition": ("repeated runs of four words", "k^:"),
}


def by_temperature(results: list[JobResult], column: str) -> dict[float, list[float]]:
    """A score of every network's sample, by temperature."""
    found: dict[float, list[float]] = {}
    for result in results:
        for sample in result.samples:
            if sample.get(column) is not None:
                found.setdefault(float(sample["temperature"]), []).append(float(sample[column]))
    return dict(sorted(found.items()))


def measures(results: list[JobResult]) -> Measures:
    """Each score at each temperature, the mean over the networks: `known_words@0.5`."""
    return {
        f"{column}@{temperature:g}": mean(values)
        for column in (*SHARES, "longest_match")
        for temperature, values in by_temperature(results, column).items()
    }


def figure(results: list[JobResult]) -> Figure:
    """Shares on the left, the longest copied passage on the right, each over temperature."""
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for column, (label, style) in SHARES.items():
        points = {t: 100 * mean(values) for t, values in by_temperature(results, column).items()}
        left.plot(list(points), list(points.values()), style, label=label, markersize=4)
    left.set_ylabel("share [%]")
    left.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.93))
    copied = {t: mean(values) for t, values in by_temperature(results, "longest_match").items()}
    right.plot(list(copied), list(copied.values()), "ko-", markersize=4)
    right.set_ylabel("longest passage copied [characters]")
    right.set_ylim(bottom=0)
    for ax in (left, right):
        ax.set_xlabel("temperature")
        ax.grid(alpha=0.3)
    return figure
