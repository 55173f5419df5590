"""Figures of a sweep: axis types and means."""

from typing import Any

import numpy as np


def test_marginal_axis_types() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import marginal

    def drawn(*values: str) -> Any:
        ax = Figure().add_subplot()
        marginal(ax, "key", [(value, 2.0 + n) for n, value in enumerate(values)])
        return ax

    def ticks(ax: Any) -> list[str]:
        return [label.get_text() for label in ax.get_xticklabels()]

    decade = drawn("0.001", "0.003", "0.01")
    assert decade.get_xscale() == "log"
    assert ticks(decade) == ["0.001", "0.003", "0.01"]
    narrow = drawn("64", "128", "256")
    assert narrow.get_xscale() == "linear"
    assert ticks(narrow) == ["64", "128", "256"]
    assert drawn("0", "10").get_xscale() == "linear"  # 0 has no logarithm
    assert ticks(drawn("rnn", "lstm", "gru")) == ["gru", "lstm", "rnn"]
    assert ticks(drawn("null", "5", "1")) == ["1", "5", "null"]


def test_marginal_plots_mean_per_value() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import marginal

    ax = Figure().add_subplot()
    marginal(ax, "hidden", [("8", 2.0), ("8", 3.0), ("16", 1.0)])
    mean, runs = ax.get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == [8, 16]
    assert np.asarray(mean.get_ydata()).tolist() == [2.5, 1.0]
    assert np.asarray(runs.get_ydata()).tolist() == [2.0, 3.0, 1.0]


def test_seeds_are_not_joined_by_line() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import marginal

    ax = Figure().add_subplot()
    marginal(ax, "seed", [("1", 2.0), ("2", 3.0), ("3", 1.0)])
    (jobs,) = ax.get_lines()
    assert jobs.get_linestyle() == "None"
    assert np.asarray(jobs.get_ydata()).tolist() == [2.0, 3.0, 1.0]
