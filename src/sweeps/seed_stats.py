"""Mean and standard deviation over seeds, of the jobs of a sweep that otherwise have the same settings."""

from collections.abc import Iterable
from math import inf, isfinite, nan

from src.common.console import pluralize
from src.common.job_result import JobResult, final_score

SEED = "seed"


def where(results: Iterable[JobResult], **swept: str) -> list[JobResult]:
    """Select the results with the given swept values.

    Args:
        results: Results of the jobs of a sweep.
        **swept: Swept key to its value as text, for example `hidden="64"`.

    Returns:
        The matching results, in their order.
    """
    return [result for result in results if swept.items() <= result.swept.items()]


def swept_values(results: Iterable[JobResult], key: str) -> list[str]:
    """List the distinct values of a swept key.

    Args:
        results: Results of the jobs of a sweep.
        key: Dotted name of the key.

    Returns:
        The values as text: numbers in ascending order with `null` last; words in the order of the jobs.
    """
    distinct = list(dict.fromkeys(result.swept[key] for result in results if key in result.swept))
    try:
        return sorted(distinct, key=lambda value: inf if value == "null" else float(value))
    except ValueError:
        return distinct


def values(results: Iterable[JobResult], metric: str) -> list[float]:
    """Return the finite values of a metric over the finished jobs.

    Args:
        results: Results of the jobs.
        metric: Name of the metric, for example `test/bpc`.

    Returns:
        The values, in the order of the jobs; empty where no finished job has the metric.
    """
    finished = (result.metrics.get(metric, nan) for result in results if result.status == "FINISHED")
    return [value for value in finished if isfinite(value)]


def mean(results: Iterable[JobResult], metric: str) -> float:
    """Compute the mean of a metric over the finished jobs.

    Args:
        results: Results of the jobs.
        metric: Name of the metric.

    Returns:
        The mean of the finite values; infinity where there is none, so that no claim passes.
    """
    import pandas as pd  # slow to import

    found = values(results, metric)
    return float(pd.Series(found).mean()) if found else inf


def std(results: Iterable[JobResult], metric: str) -> float:
    """Compute the sample standard deviation of a metric over the finished jobs.

    Args:
        results: Results of the jobs.
        metric: Name of the metric.

    Returns:
        The standard deviation with divisor n - 1; 0 for fewer than two finite values.
    """
    import pandas as pd  # slow to import

    found = values(results, metric)
    return float(pd.Series(found).std()) if len(found) > 1 else 0.0


def one_per_setting(results: list[JobResult]) -> list[JobResult]:
    """Select one job of those that differ only in the seed.

    Args:
        results: Results of the jobs of a sweep.

    Returns:
        The first job of each combination of the other swept keys whose samples have a visible character;
        where no seed has one, the first.
    """
    groups: dict[tuple[tuple[str, str], ...], list[JobResult]] = {}
    for result in results:
        groups.setdefault(tuple(item for item in result.swept.items() if item[0] != SEED), []).append(result)
    return [
        next((job for job in jobs if any(str(s["text"]).strip() for s in job.samples)), jobs[0])
        for jobs in groups.values()
    ]


def describe_seeds(results: list[JobResult]) -> list[str]:
    """Describe the jobs that differ only in the seed, the lowest mean val/loss first.

    Args:
        results: Results of all jobs of a sweep.

    Returns:
        Lines such as `hidden=64: val/loss 1.6041 +- 0.0123, test/bpc 2.3321 +- 0.0101 over 5 seeds`, one for
        each combination of the other swept keys; empty where the seed was not swept. Only finite scores of
        finished jobs count.
    """
    groups: dict[str, list[JobResult]] = {}
    for result in results:
        if SEED in result.swept:
            others = " ".join(f"{key}={value}" for key, value in result.swept.items() if key != SEED)
            groups.setdefault(others, []).append(result)
    ordered = sorted(groups.items(), key=lambda group: mean(group[1], "val/loss"))
    return [f"{name}: {describe_group(jobs)}" if name else describe_group(jobs) for name, jobs in ordered]


def describe_group(jobs: list[JobResult]) -> str:
    """Describe the scores of jobs that differ only in the seed.

    Args:
        jobs: Results of these jobs; at least one.

    Returns:
        Mean and standard deviation of val/loss and of the score of the final split, and the number of seeds;
        or a note that no seed finished.
    """
    count = len(values(jobs, "val/loss"))
    if not count:
        return f"no seed of {len(jobs)} finished"
    scores = [
        f"{metric} {mean(jobs, metric):.4f}" + (f" +- {std(jobs, metric):.4f}" if count > 1 else "")
        for metric in ("val/loss", final_score(jobs))
        if values(jobs, metric)
    ]
    return f"{', '.join(scores)} over {pluralize(count, 'seed')}"
