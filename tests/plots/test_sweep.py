"""Figures of a sweep: axis types and means."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from src.common.job_result import JobResult, SearchHistory
from src.plots.sweep import marginal, search_history


def drawn(key: str, *points: tuple[str, float]) -> tuple[Any, str]:
    """Draw a job for each value of a key, with its val/loss; return the axes and the description."""
    jobs = [
        JobResult(value, n, {key: value}, f"id{n}", "FINISHED", metrics={"val/loss": loss})
        for n, (value, loss) in enumerate(points)
    ]
    ax = Figure().add_subplot()
    return ax, marginal(ax, key, jobs)


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
    ax, _ = drawn("key", *((value, 2.0) for value in values.split()))
    assert ax.get_xscale() == scale
    assert [label.get_text() for label in ax.get_xticklabels()] == ticks.split()


def test_marginal_plots_mean_per_value() -> None:
    """Seeds have no mean and no line."""
    ax, words = drawn("hidden", ("16", 1.0), ("8", 2.0), ("8", 3.0))
    mean, *runs = ax.get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == [8, 16]
    assert np.asarray(mean.get_ydata()).tolist() == [2.5, 1.0]
    assert words == "hidden: mean 2.5000 at 8, mean 1.0000 at 16"
    assert [run.get_gid() for run in runs] == ["job-0-hidden", "job-1-hidden", "job-2-hidden"]
    jobs = drawn("seed", ("1", 1.0), ("2", 2.0), ("3", 3.0))[0].get_lines()
    assert {job.get_linestyle() for job in jobs} == {"None"}
    for circles in (runs, jobs):
        assert [np.asarray(circle.get_ydata()).tolist() for circle in circles] == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize("importances", [{"lr": 0.75, "hidden": 0.25}, {}])
def test_search_history_shows_keys(importances: dict[str, float]) -> None:
    drawing = search_history(SearchHistory([(1, 3.0), (3, 2.0), (4, 2.5)], importances))
    assert all(f">{text}<" in drawing for text in ("best so far", "val/loss", *importances))
