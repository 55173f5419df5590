"""One layer on War and Peace, compared with the table of Karpathy, Johnson and Li (2015)."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, log2_axis, seed_stats, short_name
from src.plots.run import single_axes

# Test losses in nats that the paper's table gives for one layer, by the LSTM size of equal parameters. Quoted
# from memory, not yet checked against the paper.
PAPER = {
    "lstm": {64: 1.449, 128: 1.277, 256: 1.189},
    "rnn": {64: 1.446, 128: 1.417, 256: 1.342},
    "gru": {64: 1.398, 128: 1.230, 256: 1.198},
}
MARKS = {"rnn": "o", "gru": "s", "lstm": "^"}


def measures(results: list[JobResult]) -> Measures:
    """Test loss in nats by cell and size, and its difference from the paper's."""
    measured: Measures = {}
    for variant, loss, _ in seed_stats(results, "variant", "test/loss").itertuples():
        cell, _, size = short_name(variant).partition("_")
        measured[f"{cell}_{size}/loss"] = loss
        measured[f"{cell}_{size}/over_paper"] = loss - PAPER[cell][int(size)]
    return measured


def figure(results: list[JobResult]) -> Figure:
    """Draw the measures of the jobs."""
    return plot_losses(measures(results))


def plot_losses(measured: Measures) -> Figure:
    """Plot the measured losses (filled marks) and the paper's (hollow) against the size."""
    figure, ax = single_axes(
        7.2,
        4.6,
        "size (units of an LSTM with the same number of parameters)",
        "test loss [nats per character]",
        "Test loss on War and Peace, one layer",
    )
    for cell, mark in MARKS.items():
        ax.plot(
            *zip(*PAPER[cell].items(), strict=True),
            "k" + mark + ":",
            markerfacecolor="w",
            label=f"{cell}, paper (from memory)",
        )
        names = {size: f"{cell}_{size}/loss" for size in PAPER[cell]}
        ours = [(size, measured[name]) for size, name in names.items() if name in measured]
        if ours:
            ax.plot(*zip(*ours, strict=True), "k" + mark + "-", label=f"{cell}, measured")
    log2_axis(ax, ["64", "128", "256"])
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
