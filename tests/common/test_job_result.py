import json
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.job_result import JobResult, read_results, write_results

ROW = JobResult(
    "hidden=8", 0, {"hidden": "8"}, "id", "FINISHED",
    metrics={"val/loss": 2.0},
    curves={"val/loss": [(5, float("nan")), (10, 2.0)]},
    samples=[{"text": "a"}],
    gradient=[(1, 0.5)],
)  # fmt: skip


def test_results_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    write_results(file, [ROW])
    (row,) = read_results(file)
    assert repr(row) == repr(ROW)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"number": "0"}, "0.number"),
        ({"more": 1}, "0.more"),
        ({"gradient": [[1, 2, 3]]}, "too many values"),
        ({"curves": {"a": [[1]]}}, "not enough values"),
    ],
)
def test_damaged_results_are_rejected_in_one_line(
    changes: dict[str, Any], place: str, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.json"
    write_results(file, [ROW])
    (row,) = json.loads(file.read_text())
    file.write_text(json.dumps([row | changes]))
    with pytest.raises(UserError, match=f"run: expected a whole jobs.json, got a damaged one in .*{place}"):
        read_results(file)


@pytest.mark.parametrize(("text", "place"), [("{}", "content"), ("[{}]", "0.name"), (None, "No such file")])
def test_missing_values_are_rejected_in_one_line(text: str | None, place: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "jobs.json").write_text(text)
    with pytest.raises(UserError, match=rf"expected a whole jobs\.json, got .*{place}"):
        read_results(tmp_path / "jobs.json")
