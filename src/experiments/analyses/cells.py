"""RNN, GRU and LSTM at equal numbers of parameters."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, average, dots, spread, swept, values, where


def measures(rows: list[JobResult]) -> Measures:
    """Bits per character on the test split: mean and deviation over seeds."""
    found = {}
    for variant in swept(rows, "variant"):
        arm, short = where(rows, variant=variant), variant.rpartition("/")[2]
        found[f"{short}/bpc"] = average(arm, "test/bpc")
        found[f"{short}/deviation"] = spread(arm, "test/bpc")
        found[f"{short}/seconds"] = average(arm, "train/seconds")
    return found


def figure(rows: list[JobResult]) -> Figure:
    """A dot a seed, a line at each cell's mean."""
    drawn = Figure(figsize=(6, 3.6), layout="constrained")
    ax = drawn.add_subplot()
    arms = swept(rows, "variant")
    for x, variant in enumerate(arms):
        arm = where(rows, variant=variant)
        dots(ax, x, values(arm, "test/bpc"), average(arm, "test/bpc"), markerfacecolor="none")
    ax.set_xticks(range(len(arms)), [name.rpartition("/")[2] for name in arms])
    ax.set_xlabel("cell, each with some 100,000 parameters")
    ax.set_ylabel("test split, state carried [bits per character]")
    ax.grid(alpha=0.3, axis="y")
    return drawn
