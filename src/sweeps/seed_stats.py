"""Mean and standard deviation over seeds, of the jobs of a sweep that differ in nothing else."""

from collections.abc import Iterable
from math import inf, isfinite, nan

from src.common.console import pluralize
from src.common.job_result import JobResult, final_score

SEED = "seed"


def where(results: Iterable[JobResult], **swept: str) -> list[JobResult]:
    """The results with these swept values."""
    return [result for result in results if swept.items() <= result.swept.items()]


def swept_values(results: Iterable[JobResult], key: str) -> list[str]:
    """The values of a swept key: numbers in order (null last), words in the order of the jobs."""
    distinct = list(dict.fromkeys(result.swept[key] for result in results if key in result.swept))
    try:
        return sorted(distinct, key=lambda value: inf if value == "null" else float(value))
    except ValueError:
        return distinct


def values(results: Iterable[JobResult], metric: str) -> list[float]:
    """The finite values of a metric, of the finished jobs."""
    finished = (result.metrics.get(metric, nan) for result in results if result.status == "FINISHED")
    return [value for value in finished if isfinite(value)]


def mean(results: Iterable[JobResult], metric: str) -> float:
    """The mean of a metric; infinite where no job has it, so that no claim passes."""
    import pandas as pd  # slow to import

    found = values(results, metric)
    return float(pd.Series(found).mean()) if found else inf


def std(results: Iterable[JobResult], metric: str) -> float:
    """The standard deviation of a metric, of the sample (n - 1); 0 for less than two values."""
    import pandas as pd  # slow to import

    found = values(results, metric)
    return float(pd.Series(found).std()) if len(found) > 1 else 0.0


def describe_seeds(results: list[JobResult]) -> list[str]:
    """Describe the jobs that differ in the seed alone, the lowest mean val/loss first.

    Returns:
        `hidden=64: val/loss 1.6041 +- 0.0123, test/bpc 2.3321 +- 0.0101 over 5 seeds`, a line for each
        combination of everything else that was swept; empty where the seed was not swept. Only finite scores
        of finished jobs count.
    """
    groups: dict[str, list[JobResult]] = {}
    for result in results:
        if SEED in result.swept:
            others = " ".join(f"{key}={value}" for key, value in result.swept.items() if key != SEED)
            groups.setdefault(others, []).append(result)
    ordered = sorted(groups.items(), key=lambda group: mean(group[1], "val/loss"))
    return [f"{name}: {describe_group(jobs)}" if name else describe_group(jobs) for name, jobs in ordered]


def describe_group(jobs: list[JobResult]) -> str:
    """Describe the scores of jobs that differ in the seed alone."""
    count = len(values(jobs, "val/loss"))
    if not count:
        return f"no seed of {len(jobs)} finished"
    scores = [
        f"{metric} {mean(jobs, metric):.4f}" + (f" +- {std(jobs, metric):.4f}" if count > 1 else "")
        for metric in ("val/loss", final_score(jobs))
        if values(jobs, metric)
    ]
    return f"{', '.join(scores)} over {pluralize(count, 'seed')}"
