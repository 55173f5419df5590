"""What several figures of experiments are drawn with."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes


def dots(ax: Axes, x: float, points: Sequence[float], mean: float, mark: str = "o", **options: Any) -> None:
    """An arm at x: a mark for each seed, a line at their mean."""
    ax.plot([x] * len(points), points, "k" + mark, markersize=5, **options)
    ax.plot([x - 0.12, x + 0.12], [mean, mean], "k-", linewidth=2)


def sizes(ax: Axes, values: Sequence[str]) -> None:
    """A logarithmic axis with these ticks and no others."""
    ax.set_xscale("log")
    ax.set_xticks([float(value) for value in values], list(values))
    ax.minorticks_off()
