"""One layer on War and Peace, beside the table of Karpathy, Johnson and Li (2015)."""

from matplotlib.figure import Figure

from src.common.job_result import JobResult
from src.experiments.aggregate import Measures, log2_axis, seed_stats

# Test losses in nats that the paper's table gives for one layer, by the LSTM size of equal parameters. Quoted
# from memory, not yet checked against the paper.
PAPER = {
    "lstm": {64: 1.449, 128: 1.277, 256: 1.189},
    "rnn": {64: 1.446, 128: 1.417, 256: 1.342},
    "gru": {64: 1.398, 128: 1.230, 256: 1.198},
}
MARKS = {"rnn": "o", "gru": "s", "lstm": "^"}


def measures(rows: list[JobResult]) -> Measures:
    """Test loss in nats by cell and size, and its difference from the paper's."""
    found: Measures = {}
    for variant, loss, _ in seed_stats(rows, "variant", "test/loss").itertuples():
        cell, _, size = variant.rpartition("/")[2].partition("_")
        found[f"{cell}_{size}/loss"] = loss
        found[f"{cell}_{size}/over_paper"] = loss - PAPER[cell][int(size)]
    return found


def figure(rows: list[JobResult]) -> Figure:
    """The same figure from the jobs."""
    return plot_losses(measures(rows))


def plot_losses(found: Measures) -> Figure:
    """Ours filled, the paper's hollow, against the size: of those rows of the table that were run."""
    drawn = Figure(figsize=(7.2, 4.6), layout="constrained")
    ax = drawn.add_subplot()
    for cell, mark in MARKS.items():
        ax.plot(
            *zip(*PAPER[cell].items(), strict=True),
            "k" + mark + ":",
            markerfacecolor="w",
            label=f"{cell}, the paper (from memory)",
        )
        ours = {size: found[f"{cell}_{size}/loss"] for size in PAPER[cell] if f"{cell}_{size}/loss" in found}
        if ours:
            ax.plot(*zip(*ours.items(), strict=True), "k" + mark + "-", label=f"{cell}, measured")
    log2_axis(ax, ["64", "128", "256"])
    ax.set_xlabel("size: units of an LSTM with as many parameters")
    ax.set_ylabel("test loss [nats per character]")
    ax.grid(alpha=0.3)
    drawn.legend(loc="outside lower center", ncols=3, fontsize=8)
    return drawn
