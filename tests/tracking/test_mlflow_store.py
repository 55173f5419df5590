"""`run=` selects a run in MLflow; missing runs and servers are reported."""

import hashlib
from typing import Any

import pytest

from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


def test_sample_finds_run_by_name_and_id(run_cli: RunCli, trained: Any) -> None:
    overrides = ["prompt=when in ", "temperature=0.9", "seed=3", "length=70", *trained.path_overrides]
    texts = [run_cli("sample", f"run={run}", *overrides).out for run in ("latest", "best", trained.run_id)]
    assert texts[0].startswith("when in ")
    assert len(texts[0]) == len("when in ") + 70 + 1
    assert texts[0] == texts[1] == texts[2]
    digest = hashlib.sha256(b"when in ").hexdigest()[:6]  # each prompt has its own file
    name = f"written_{digest}_temperature_0.9_seed_3_length_70.txt"
    saved_file = trained.outputs / "artifacts" / trained.run_id / "artifacts" / "samples" / name
    assert saved_file.read_text() == texts[0]


@pytest.mark.usefixtures("no_retries")
def test_unreachable_server_is_reported(run_cli: RunCli, trained: Any) -> None:
    result = run_cli("evaluate", "tracking.uri=http://127.0.0.1:9", *trained.path_overrides)
    assert result.error_line.startswith("evaluate: ")
    assert "http://127.0.0.1:9" in result.error_line
