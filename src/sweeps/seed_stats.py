"""Repeats: jobs of a sweep that differ in nothing but the seed, as one, with mean and standard deviation."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from src.common.console import counted
from src.common.job_result import Row, final_score

SEED = "seed"


@dataclass(frozen=True)
class Group:
    """Rows that differ in the seed alone. swept: key to value of what else was swept, the same for all."""

    swept: dict[str, str]
    rows: list[Row]

    @property
    def name(self) -> str:
        """`hidden=64 clip=1`; "" where nothing but the seed was swept."""
        return " ".join(f"{key}={value}" for key, value in self.swept.items())

    def values(self, metric: str) -> list[float]:
        """Of the finished rows that have it."""
        finished = [row for row in self.rows if row.status == "FINISHED"]
        return [row.metrics[metric] for row in finished if metric in row.metrics]

    def mean(self, metric: str = "val/loss") -> float | None:
        """None where no row has the metric."""
        values = self.values(metric)
        return mean(values) if values else None

    def deviation(self, metric: str = "val/loss") -> float | None:
        """The sample's standard deviation (n - 1 below); None for fewer than two values."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None


def groups(rows: Iterable[Row]) -> list[Group]:
    """The rows by everything that was swept but the seed, the lowest mean val/loss first.

    None where the seed was not swept: then each row stands for itself.
    """
    members: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if SEED in row.swept:
            others = tuple((key, value) for key, value in row.swept.items() if key != SEED)
            members.setdefault(others, []).append(row)
    found = [Group(dict(others), together) for others, together in members.items()]
    return sorted(found, key=lambda group: (group.mean() is None, group.mean() or 0.0))


def told(group: Group) -> str:
    """`hidden=64: val/loss 1.6041 +- 0.0123 over 5 seeds`."""
    scores, count = [], len(group.values("val/loss"))
    for metric in ("val/loss", final_score(group.rows)):
        middle, spread = group.mean(metric), group.deviation(metric)
        if middle is not None:
            scores.append(f"{metric} {middle:.4f}" + (f" +- {spread:.4f}" if spread is not None else ""))
    over = f"over {counted(count, 'seed')}" if count else f"no seed of {len(group.rows)} finished"
    return (f"{group.name}: " if group.name else "") + " ".join([", ".join(scores), over]).strip()
