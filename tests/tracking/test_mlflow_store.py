"""`run=` selects a run in MLflow; missing runs and servers are reported."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import SUMMARY, TIME_LIMIT
from tests.conftest import PROJECT

# MLflow's own warnings, about its own dependencies, are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
RunCli = Callable[..., Any]


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


@pytest.fixture(scope="module")
def sweep(trained: Any) -> Any:
    """A sweep of two runs in its own experiment of the shared database."""
    process = subprocess.run(
        [sys.executable, "-m", "src.train", "--multirun", "hidden=8,16", "max_epochs=0.05", "length=20",
         "figures=false", "tracking.experiment=sweep", *trained.path_overrides],
        cwd=PROJECT, capture_output=True, text=True, check=False, timeout=TIME_LIMIT,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process


def run_id_of(trained: Any, line: str) -> str:
    """Return the run id of a job from the last line of its output."""
    folder = trained.outputs / "runs" / line.rpartition("run=")[2]
    return str(json.loads((folder / "sync_state.json").read_text())["run_id"])


def test_sweep_creates_run_per_job(sweep: Any, trained: Any) -> None:
    import mlflow

    lines = [line for line in sweep.stdout.splitlines() if line.startswith("test/bpc=")]
    assert len(lines) == 2
    assert all(re.match(SUMMARY, line) for line in lines)
    client = mlflow.MlflowClient(trained.uri)
    runs = [client.get_run(run_id_of(trained, line)) for line in lines]
    assert [run.data.params["hidden"] for run in runs] == ["8", "16"]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    experiment = client.get_experiment_by_name("sweep").experiment_id
    assert {run.info.experiment_id for run in runs} == {experiment}


def test_latest_and_best_differ(sweep: Any, run_cli: RunCli, trained: Any) -> None:
    from src.tracking.mlflow_store import MlflowStore

    runs = MlflowStore(trained.uri, "sweep", trained.outputs)
    names = re.findall(r"^test/bpc=.* run=(.+)$", sweep.stdout, re.MULTILINE)
    ids = [run_id_of(trained, name) for name in names]
    losses = [float(loss) for loss in re.findall(r"val/loss=([\d.]+)", sweep.stdout)]
    assert runs.find("latest").run_id == ids[-1]
    assert runs.find("best").run_id == ids[losses.index(min(losses))]
    assert MlflowStore(trained.uri, "char-rnn", trained.outputs).find("best").run_id == trained.run_id
    overrides = ["length=40", "tracking.experiment=sweep", *trained.path_overrides]
    latest, by_id, by_name = (
        run_cli("sample", f"run={run}", *overrides) for run in ("latest", ids[-1], names[-1])
    )
    assert latest.rc == 0, latest.err
    assert latest.out == by_id.out == by_name.out
    assert latest.out != run_cli("sample", f"run={ids[0]}", *overrides).out


@pytest.mark.usefixtures("no_retries")
def test_unreachable_server_is_reported(run_cli: Callable[..., Any], trained: Any) -> None:
    result = run_cli("evaluate", "tracking.uri=http://127.0.0.1:9", *trained.path_overrides)
    assert result.rc != 0
    assert result.error_line.startswith("evaluate: ")
    assert "http://127.0.0.1:9" in result.error_line


def test_missing_run_creates_no_database(command: Callable[..., Any], tmp_path: Path) -> None:
    result = command("src.evaluate", f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    assert result.rc == 2
    assert "run: expected a finished run" in result.err
    assert not (tmp_path / "o" / "mlflow.db").exists()
    assert result.error_line.startswith("evaluate: run: ")


@pytest.mark.parametrize("run", ["nonsense", "0" * 32])
def test_unknown_run_id_is_rejected(run: str, run_cli: Callable[..., Any], trained: Any) -> None:
    result = run_cli("sample", f"run={run}", *trained.path_overrides)
    assert result.rc == 2
    assert result.error_line == (
        "sample: run: expected latest, best, an alias that char-rnn has (register=true makes champion), "
        f"models:/NAME@ALIAS or a run id, got {run}"
    )
