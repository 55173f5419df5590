"""Mean and standard deviation over jobs that differ only in the seed."""

from dataclasses import replace

import pytest

from src.common.job_result import JobResult, final_score
from src.sweeps.seed_stats import describe_seeds, mean, std
from src.sweeps.summary import print_table
from src.tracking.sweep import Sweep


def job_result(number: int, loss: float | None, status: str = "FINISHED", **swept: str) -> JobResult:
    metrics = {} if loss is None else {"val/loss": loss, "test/bpc": 2 * loss}
    return JobResult(f"job {number}", number, swept, f"run{number}", status, metrics=metrics)


def test_groups_exclude_seed_and_are_sorted() -> None:
    results = [
        job_result(0, 2.0, hidden="8", seed="1"),
        job_result(1, 1.0, hidden="16", seed="1"),
        job_result(2, 3.0, hidden="8", seed="2"),
        job_result(3, 1.5, hidden="16", seed="2"),
    ]
    assert describe_seeds(results) == [
        "hidden=16: val/loss 1.2500 +- 0.3536, test/bpc 2.5000 +- 0.7071 over 2 seeds",
        "hidden=8: val/loss 2.5000 +- 0.7071, test/bpc 5.0000 +- 1.4142 over 2 seeds",
    ]
    assert (mean(results[::2], "val/loss"), mean(results[::2], "test/bpc")) == (2.5, 5.0)
    assert std(results[::2], "val/loss") == pytest.approx(0.5**0.5)  # n - 1: (0.25 + 0.25) / 1
    assert std(results[:1], "val/loss") == 0
    without_group = [job_result(k, loss, seed=str(k)) for k, loss in enumerate((1.0, 2.0, 3.0))]
    (line,) = describe_seeds(without_group)
    assert line == "val/loss 2.0000 +- 1.0000, test/bpc 4.0000 +- 2.0000 over 3 seeds"
    assert describe_seeds([job_result(0, 1.0, hidden="8"), job_result(1, 2.0, hidden="16")]) == []
    assert describe_seeds([]) == []


def test_unfinished_jobs_are_excluded() -> None:
    results = [
        job_result(0, None, "FAILED", hidden="8", seed="1"),
        job_result(1, 9.0, "KILLED", hidden="8", seed="2"),
        job_result(2, 2.0, hidden="16", seed="1"),
        job_result(3, 1.0, "FAILED", hidden="16", seed="2"),
        job_result(4, float("inf"), hidden="16", seed="3"),
    ]
    first, last = describe_seeds(results)
    assert first == "hidden=16: val/loss 2.0000, test/bpc 4.0000 over 1 seed"
    assert last == "hidden=8: no seed of 2 finished"


def test_score_without_test_split(capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        replace(job_result(k, 2.0, seed=str(k)), metrics={"val/loss": 2.0, "final_val/bpc": 3.125 + k})
        for k in (0, 1)
    ]
    assert final_score(results) == "final_val/bpc"
    assert "final_val/bpc 3.6250 +- 0.7071" in describe_seeds(results)[0]
    print_table(Sweep("id", "name", ["seed"]), results)
    table = capsys.readouterr().out
    assert ["final_val/bpc" in table, "test/bpc" in table, "4.1250" in table] == [True, False, True]
    assert final_score([*results, job_result(2, 1.0)]) == "test/bpc"
    assert final_score([job_result(2, None)]) == "test/bpc"
