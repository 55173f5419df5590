"""Rows that differ in nothing but the seed are one group, with mean and standard deviation."""

from dataclasses import replace

import pytest

from src.common.job_result import Row, final_score
from src.sweeps.seed_stats import groups, told
from src.sweeps.summary import tell
from src.sweeps.sweep import Sweep


def row(number: int, loss: float | None, status: str = "FINISHED", **swept: str) -> Row:
    metrics = {} if loss is None else {"val/loss": loss, "test/bpc": 2 * loss}
    return Row(f"job {number}", number, swept, f"run{number}", status, metrics=metrics)


def test_rows_are_grouped_by_everything_but_the_seed_the_lowest_mean_first() -> None:
    rows = [
        row(0, 2.0, hidden="8", seed="1"),
        row(1, 1.0, hidden="16", seed="1"),
        row(2, 3.0, hidden="8", seed="2"),
        row(3, 1.5, hidden="16", seed="2"),
    ]
    small, large = reversed(groups(rows))
    assert (large.name, large.swept, large.rows) == ("hidden=16", {"hidden": "16"}, [rows[1], rows[3]])
    assert (small.name, small.rows) == ("hidden=8", [rows[0], rows[2]])
    assert large.mean() == 1.25
    assert large.mean("test/bpc") == 2.5
    assert small.deviation() == pytest.approx(0.5**0.5)  # n - 1 below: (0.25 + 0.25) / 1


def test_a_line_says_mean_deviation_and_how_many() -> None:
    rows = [row(k, loss, seed=str(k)) for k, loss in enumerate((1.0, 2.0, 3.0))]
    (group,) = groups(rows)
    assert told(group) == "val/loss 2.0000 +- 1.0000, test/bpc 4.0000 +- 2.0000 over 3 seeds"
    (one,) = groups([row(0, 1.5, seed="1", clip="5")])
    assert told(one) == "clip=5: val/loss 1.5000, test/bpc 3.0000 over 1 seed"
    assert one.deviation() is None


def test_what_did_not_finish_counts_for_nothing_and_stands_last() -> None:
    rows = [
        row(0, None, "FAILED", hidden="8", seed="1"),
        row(1, 9.0, "KILLED", hidden="8", seed="2"),
        row(2, 2.0, hidden="16", seed="1"),
        row(3, 1.0, "FAILED", hidden="16", seed="2"),
    ]
    first, last = groups(rows)
    assert first.values("val/loss") == [2.0]
    assert last.mean() is None
    assert told(last) == "hidden=8: no seed of 2 finished"


def test_without_several_seeds_there_is_no_group() -> None:
    assert groups([row(0, 1.0, hidden="8"), row(1, 2.0, hidden="16")]) == []
    assert groups([]) == []


def test_a_corpus_without_a_test_split_has_its_own_score(capsys: pytest.CaptureFixture[str]) -> None:
    """In the lines of repeats and in the table of the terminal, as on the sweep's page."""
    rows = [
        replace(row(k, 2.0, seed=str(k)), metrics={"val/loss": 2.0, "val_final/bpc": 3.125 + k})
        for k in (0, 1)
    ]
    assert final_score(rows) == "val_final/bpc"
    assert "val_final/bpc 3.6250 +- 0.7071" in told(groups(rows)[0])
    tell(Sweep("id", "name", ["seed"]), rows, None)
    table = capsys.readouterr().out
    assert ["val_final/bpc" in table, "test/bpc" in table, "4.1250" in table] == [True, False, True]
    assert final_score([*rows, row(2, 1.0)]) == "test/bpc"
    assert final_score([row(2, None)]) == "test/bpc"
