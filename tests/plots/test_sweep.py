"""Figures of a sweep: axis types and means."""

from typing import Any

import numpy as np

from src.common.job_result import JobResult


def jobs(key: str, *points: tuple[str, float]) -> list[JobResult]:
    """Return a job for each value of a swept key, with its val/loss."""
    return [
        JobResult(f"{key}={value}", n, {key: value}, f"id{n}", "FINISHED", metrics={"val/loss": loss})
        for n, (value, loss) in enumerate(points)
    ]


def test_marginal_axis_types() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import marginal

    def drawn(*values: str) -> Any:
        ax = Figure().add_subplot()
        marginal(ax, "key", jobs("key", *((value, 2.0 + n) for n, value in enumerate(values))))
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
    words = marginal(ax, "hidden", jobs("hidden", ("16", 1.0), ("8", 2.0), ("8", 3.0)))
    assert words == "hidden: mean 2.5000 at 8, mean 1.0000 at 16"
    mean, *circles = ax.get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == [8, 16]
    assert np.asarray(mean.get_ydata()).tolist() == [2.5, 1.0]
    assert [np.asarray(circle.get_ydata()).tolist() for circle in circles] == [[1.0], [2.0], [3.0]]
    assert [circle.get_gid() for circle in circles] == ["job-0-hidden", "job-1-hidden", "job-2-hidden"]


def test_seeds_are_not_joined_by_line() -> None:
    from matplotlib.figure import Figure

    from src.plots.sweep import marginal

    ax = Figure().add_subplot()
    marginal(ax, "seed", jobs("seed", ("1", 2.0), ("2", 3.0), ("3", 1.0)))
    circles = ax.get_lines()
    assert {circle.get_linestyle() for circle in circles} == {"None"}
    assert [np.asarray(circle.get_ydata()).tolist() for circle in circles] == [[2.0], [3.0], [1.0]]
