"""RNN, GRU and LSTM at equal numbers of parameters."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, plot_variants, seed_stats, short_name
from src.plots.run import single_axes


def measures(results: list[JobResult]) -> Measures:
    """Bits per character on the test split, mean and standard deviation over seeds, by cell."""
    measured: Measures = {}
    seconds = seed_stats(results, "variant", "train/seconds")
    for variant, average, std in seed_stats(results, "variant", "test/bpc").itertuples():
        cell = short_name(variant)
        measured[f"{cell}/bpc"] = average
        measured[f"{cell}/deviation"] = std
        measured[f"{cell}/seconds"] = float(seconds["mean"][variant])
    return measured


def figure(results: list[JobResult]) -> Figure:
    """Plot the score of each cell: a mark for each seed, a line at their mean."""
    figure, ax = single_axes(
        6,
        3.6,
        "cell, each with about 100,000 parameters",
        "test split, stateful [bits per character]",
        "Score by cell",
    )
    ax.grid(visible=False, axis="x")
    plot_variants(ax, results, "test/bpc", markerfacecolor="none")
    return figure
