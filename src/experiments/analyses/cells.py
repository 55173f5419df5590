"""RNN, GRU and LSTM at equal numbers of parameters."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, mean, plot_seeds, seed_stats, swept, values, where


def measures(rows: list[JobResult]) -> Measures:
    """Bits per character on the test split, mean and standard deviation over seeds, by cell."""
    found: Measures = {}
    seconds = seed_stats(rows, "variant", "train/seconds")
    for variant, average, std in seed_stats(rows, "variant", "test/bpc").itertuples():
        short = variant.rpartition("/")[2]
        found[f"{short}/bpc"] = average
        found[f"{short}/deviation"] = std
        found[f"{short}/seconds"] = float(seconds["mean"][variant])
    return found


def figure(rows: list[JobResult]) -> Figure:
    """A dot a seed, a line at each cell's mean."""
    drawn = Figure(figsize=(6, 3.6), layout="constrained")
    ax = drawn.add_subplot()
    arms = swept(rows, "variant")
    for x, variant in enumerate(arms):
        arm = where(rows, variant=variant)
        plot_seeds(ax, x, values(arm, "test/bpc"), mean(arm, "test/bpc"), markerfacecolor="none")
    ax.set_xticks(range(len(arms)), [name.rpartition("/")[2] for name in arms])
    ax.set_xlabel("cell, each with some 100,000 parameters")
    ax.set_ylabel("test split, state carried [bits per character]")
    ax.grid(alpha=0.3, axis="y")
    return drawn
