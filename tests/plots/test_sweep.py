"""Figures of a sweep: axis types, means, and labels at line ends."""

from itertools import pairwise
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


def test_line_labels_keep_order_and_distance() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import label_line_ends

    ax = Figure().add_subplot()
    ax.set_ylim(1, 3)
    ends = [(100, 1.5 + n / 1000, str(n)) for n in range(30)]
    label_line_ends(ax, [*ends, (50, 2.0, "early")], inches=5)
    placed = {text.get_text(): text.get_position()[1] for text in ax.texts}
    heights = [placed[str(n)] for n in range(30)]
    assert all(b - a > 0.02 for a, b in pairwise(heights))
    assert 0 <= heights[0] < heights[-1] <= 1
    assert "early" in placed
