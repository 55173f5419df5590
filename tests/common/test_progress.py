"""The time left of a sweep and of `reproduce`, and the name in front of each line."""

import time

import pytest

from src.common.console import (
    ExperimentProgress,
    current_scope,
    fit,
    format_duration,
    job_scope,
    printable,
    with_label,
)
from src.tracking.sweep import Job, Sweep


def test_duration_has_two_digits() -> None:
    assert [format_duration(s) for s in (0.4, 99, 100, 5999, 6000, 7200)] == [
        "0 s", "99 s", "2 min", "100 min", "2 h", "2 h"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "parallel", "share", "left"),
    [
        (0, 1, 0.0, None),
        (0, 1, 0.5, 700),  # half a job of four in 100 s
        (2, 1, 0.0, 100),
        (3, 1, 1.0, 0),
        (1, 2, 0.5, 300),  # two jobs, both half done
        (2, 2, 0.5, 100),  # jobs 0 and 1 done but for half a job, half of job 2
        (1, 8, 0.5, 100),  # all four run
        (1, 0, 0.0, None),  # a cluster
    ],
)
def test_sweep_left_is_estimated_from_jobs(
    number: int, parallel: int, share: float, left: float | None
) -> None:
    sweep = Sweep("id", "name", [], total=4, began=time.time() - 100)
    found = Job(sweep, number, {}, parallel=parallel).sweep_left(share)
    assert found is None if left is None else found == pytest.approx(left, abs=1)


def test_lines_are_cut_to_columns() -> None:
    assert fit("abcdef", 6) == "abcdef"
    assert fit("abcdefg", 6) == "abcde\u2026"
    assert fit("\u5929\u5730\u7384\u9ec4", 6) == "\u5929\u5730\u2026"  # two columns each
    assert printable("a\nb\tc\x1b[0m\u00ad\ud800") == "a b c [0m  "


def test_label_takes_half_of_the_width() -> None:
    assert with_label("step 1") == "step 1"
    with job_scope("job 2/4", "hidden=64 clip=5", True, lambda share: 80.0):
        assert with_label("step 1") == "job 2/4 hidden=64 clip=5 | step 1"
        assert with_label("step 1", 20) == "job 2/4 h\u2026 | step 1"
        assert current_scope().time_left(0.5, 9.0) == "sweep 80 s left"
    assert current_scope().time_left(0.5, 9.0) == ""


def test_total_time_of_reproduce(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = ExperimentProgress("1/2 sonnets", time.time(), 30.0, 50.0)
    for name, value in experiment.environ().items():
        monkeypatch.setenv(name, value)
    assert with_label("x") == "1/2 sonnets | x"
    assert current_scope().time_left(0.5, 9.0) == "total 80 s left"
    assert current_scope().time_left(0.5, 40.0) == "total 90 s left", "slower than expected"
    with job_scope("job 1/3", "", True, lambda share: 20.0):
        assert with_label("x") == "1/2 sonnets, job 1/3 | x"
        assert current_scope().time_left(0.5, 9.0) == "total 70 s left"
