import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.job_result import JobResult, read_results, write_results

ROW = JobResult(
    "hidden=8",
    0,
    {"hidden": "8"},
    "id",
    "FINISHED",
    metrics={"val/loss": 2.0},
    curves={"val/loss": [(5, float("nan")), (10, 2.0)]},
    samples=[{"text": "a"}],
    gradient=[(1, 0.5)],
)


def test_results_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    write_results(file, [ROW])
    (row,) = read_results(file)
    assert repr(row) == repr(ROW)


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda rows: {}, "content"),
        (lambda rows: [{**rows[0], "number": "0"}], "0.number"),
        (lambda rows: [{**rows[0], "more": 1}], "0.more"),
        (lambda rows: [{k: v for k, v in rows[0].items() if k != "status"}], "0.status"),
        (lambda rows: [{**rows[0], "gradient": [[1, 2, 3]]}], "too many values"),
        (lambda rows: [{**rows[0], "curves": {"a": [[1]]}}], "not enough values"),
    ],
)
def test_damaged_results_are_rejected_in_one_line(
    damage: Callable[[Any], Any], place: str, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    write_results(file, [ROW])
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    with pytest.raises(UserError, match=f"run: expected a whole jobs.json, got a damaged one in .*{place}"):
        read_results(file)
    file.unlink()
    with pytest.raises(UserError, match=r"expected a whole jobs\.json, .*No such file"):
        read_results(file)
