"""What longer backpropagation buys: the score against the window length, for the three cells."""

from matplotlib.figure import Figure

from src.lab.findings.arms import Measures, average, spread, swept, where
from src.lab.findings.drawing import sizes
from src.lab.sweep_rows import Row

MARKS = {"rnn": "o-", "gru": "s--", "lstm": "^:"}


def measures(rows: list[Row]) -> Measures:
    """Bits per character on the test split (state carried) by cell and window, and what the longest window
    gains over the shortest."""
    found = {}
    for model in swept(rows, "model"):
        lengths = swept(rows, "seq_len")
        for length in lengths:
            found[f"{model}/{length}"] = average(where(rows, model=model, seq_len=length), "test/bpc")
        best = min(lengths, key=lambda length: found[f"{model}/{length}"])
        found[f"{model}/best"] = float(best)
        found[f"{model}/gain"] = found[f"{model}/{lengths[0]}"] - found[f"{model}/{best}"]
    return found


def figure(rows: list[Row]) -> Figure:
    """A curve a cell, the standard deviation over seeds as bars."""
    drawn = Figure(figsize=(7, 4), layout="constrained")
    ax = drawn.add_subplot()
    for model in swept(rows, "model"):
        lengths = swept(rows, "seq_len")
        arms = [where(rows, model=model, seq_len=length) for length in lengths]
        ax.errorbar(
            [float(length) for length in lengths],
            [average(arm, "test/bpc") for arm in arms],
            [spread(arm, "test/bpc") for arm in arms],
            fmt="k" + MARKS[model],
            capsize=3,
            label=model,
            markerfacecolor="w",
        )
    sizes(ax, swept(rows, "seq_len"))
    ax.set_xlabel("window: how far the gradient flows back [characters]")
    ax.set_ylabel("test split, state carried [bits per character]")
    ax.grid(alpha=0.3)
    ax.legend()
    return drawn
