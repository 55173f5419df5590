"""Figures of a sweep: axis types and means."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from src.plots.sweep import marginal


def drawn(key: str, *jobs: tuple[str, float]) -> Any:
    ax = Figure().add_subplot()
    marginal(ax, key, list(jobs))
    return ax


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ("0.001 0.003 0.01", "log", "0.001 0.003 0.01"),
        ("64 128 256", "linear", "64 128 256"),
        ("0 10", "linear", "0 10"),  # 0 has no logarithm
        ("rnn lstm gru", "linear", "gru lstm rnn"),
        ("null 5 1", "linear", "1 5 null"),
    ],
)
def test_marginal_axis_types(values: str, scale: str, ticks: str) -> None:
    ax = drawn("key", *((value, 2.0) for value in values.split()))
    assert ax.get_xscale() == scale
    assert [label.get_text() for label in ax.get_xticklabels()] == ticks.split()


def test_marginal_plots_mean_per_value() -> None:
    """Seeds have no mean and no line."""
    mean, runs = drawn("hidden", ("8", 2.0), ("8", 3.0), ("16", 1.0)).get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == [8, 16]
    assert np.asarray(mean.get_ydata()).tolist() == [2.5, 1.0]
    (jobs,) = drawn("seed", ("1", 2.0), ("2", 3.0), ("3", 1.0)).get_lines()
    assert jobs.get_linestyle() == "None"
    assert np.asarray(runs.get_ydata()).tolist() == np.asarray(jobs.get_ydata()).tolist() == [2.0, 3.0, 1.0]
