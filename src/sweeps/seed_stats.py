"""Mean and standard deviation over seeds, for the jobs of a sweep that differ in nothing else."""

from dataclasses import dataclass
from math import inf, isnan, nan
from typing import TYPE_CHECKING

from src.common.errors import pluralize
from src.common.job_result import JobResult, final_score

if TYPE_CHECKING:
    import pandas as pd

SEED = "seed"


@dataclass(frozen=True)
class SeedGroup:
    """Jobs that differ in the seed alone.

    Attributes:
        name: What else was swept, `hidden=64 clip=1`; "" where nothing else was.
        num_jobs: Jobs of the group, finished or not.
        stats: Columns mean, std (of the sample, n - 1) and count, a row for each score. Only finite scores
            of finished jobs count.
    """

    name: str
    num_jobs: int
    stats: "pd.DataFrame"

    def describe(self) -> str:
        """`hidden=64: val/loss 1.6041 +- 0.0123, test/bpc 2.3321 +- 0.0101 over 5 seeds`."""
        scores = [
            f"{metric} {mean:.4f}" + ("" if isnan(std) else f" +- {std:.4f}")
            for metric, mean, std, _ in self.stats.itertuples()
            if not isnan(mean)
        ]
        count = int(self.stats["count"].iloc[0])
        over = f"over {pluralize(count, 'seed')}" if count else f"no seed of {self.num_jobs} finished"
        return (f"{self.name}: " if self.name else "") + " ".join([", ".join(scores), over]).strip()


def seed_stats(results: list[JobResult]) -> list[SeedGroup]:
    """Group jobs by everything that was swept but the seed, the lowest mean val/loss first.

    Returns:
        An empty list where the seed was not swept.
    """
    repeated = [result for result in results if SEED in result.swept]
    if not repeated:
        return []
    import pandas as pd  # slow to import

    scores = ["val/loss", final_score(repeated)]
    frame = pd.DataFrame(
        [
            {
                "group": " ".join(f"{key}={value}" for key, value in result.swept.items() if key != SEED),
                **{s: result.metrics.get(s, nan) if result.status == "FINISHED" else nan for s in scores},
            }
            for result in repeated
        ]
    ).replace([inf, -inf], nan)
    groups = frame.groupby("group", sort=False)[scores]
    sizes = {str(name): len(rows) for name, rows in groups.groups.items()}
    stats = groups.agg(["mean", "std", "count"]).sort_values(("val/loss", "mean"), kind="stable")
    return [
        SeedGroup(str(name), sizes[str(name)], row.unstack()[["mean", "std", "count"]].loc[scores])
        for name, row in stats.iterrows()
    ]
