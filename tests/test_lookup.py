"""Which run `run=` means, and what is said where there is none or no server that knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# MLflow's own warnings, about its own dependencies, are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.usefixtures("no_retries")
def test_a_server_that_does_not_answer_is_one_line(typed: Callable[..., Any], trained: Any) -> None:
    ended = typed("evaluate", "tracking.uri=http://127.0.0.1:9", *trained.places)
    assert ended.rc != 0
    assert ended.complaint.startswith("evaluate: ")
    assert "http://127.0.0.1:9" in ended.complaint


def test_where_no_run_is_nothing_is_made(command: Callable[..., Any], tmp_path: Path) -> None:
    ended = command("src.evaluate", f"outputs={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    assert ended.rc == 2
    assert "run: expected a finished run" in ended.err
    assert not (tmp_path / "o" / "mlflow.db").exists()
    assert ended.complaint.startswith("evaluate: run: ")


@pytest.mark.parametrize("run", ["nonsense", "0" * 32])
def test_a_run_id_that_there_is_not(run: str, typed: Callable[..., Any], trained: Any) -> None:
    ended = typed("sample", f"run={run}", *trained.places)
    assert ended.rc == 2
    assert ended.complaint == (
        "sample: run: expected latest, best, an alias that char-rnn has (register=true makes champion), "
        f"models:/NAME@ALIAS or a run id, got {run}"
    )
