"""Runs that diverge, are interrupted or fill the disk, and runs without tracking."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from src.models import serialization
from src.rnn.parameters import RNNConfig, initialize
from src.tracking.event_log import NAME, read_lines
from src.tracking.sync_state import close_run
from tests.checkpointed_job import JOB, only_run
from tests.commands import SUMMARY, CommandResult, RunCli, environ_without_coverage, run_process
from tests.conftest import ignore_mlflow_warnings
from tests.small_training import CORPUS

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


@pytest.fixture
def path_overrides(tmp_path: Path, data: Path) -> list[str]:
    return [f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none"]


def test_diverged_run_is_failed(command: RunCli, path_overrides: list[str], tmp_path: Path) -> None:
    result = command("src.train", "hidden=8", *JOB, "lr=1e30", "clip=null", *path_overrides)
    assert (result.rc, result.out) == (2, "")
    *lines, message = result.err.splitlines()
    assert message.startswith("train: lr: expected training to stay finite, got ")
    assert "1e+30" in message
    assert all(line.startswith(("[", "smallshake: ", "step ")) for line in lines), lines
    end_event = [record for _, record in read_lines(only_run(tmp_path), 0)][-1]
    assert end_event["status"] == "FAILED"
    assert "lr: expected training to stay finite" in end_event["reason"]


def test_ctrl_c_keeps_best_weights(command: RunCli, path_overrides: list[str], tmp_path: Path) -> None:
    """Every process of the group gets the signal, like from a terminal."""
    overrides = ("hidden=8", *JOB, "workers=2", *path_overrides)
    result = command("tests.fault_injection", "Ctrl-C", "50", *overrides).check()
    assert "Traceback" not in result.err
    (line,) = re.findall(r"^trained .*stop reason: interrupted; (.*)$", result.err, re.M)
    assert line == f"resume with: python -m src.train resume={only_run(tmp_path).name} output_dir={tmp_path}"
    assert re.fullmatch(SUMMARY, result.out.splitlines()[-1])
    folder = only_run(tmp_path)
    assert (folder / "model" / "weights.safetensors").exists()
    *records, end_event = [record for _, record in read_lines(folder, 0)]
    assert (end_event["status"], end_event["reason"]) == ("FINISHED", "interrupted")
    losses = [r["values"]["val/loss"] for r in records if "val/loss" in r.get("values", {})]
    assert losses[-1] == min(losses)


def test_tracking_none_creates_no_database(
    run_cli: RunCli, path_overrides: list[str], tmp_path: Path
) -> None:
    """The commands find the run in its directory."""
    result = run_cli("train", "hidden=8", *JOB, *path_overrides).check()
    folder = only_run(tmp_path)
    assert not [name for name in ("tracking.json", "sync.log", "sync_state.json") if (folder / name).exists()]
    assert result.out.splitlines()[-1].endswith(f"run={folder.name}")
    assert "test split" in run_cli("evaluate", *path_overrides).check().out
    evaluated_scores, final_scores = (
        json.loads((folder / name).read_text()) for name in ("evaluation/scores.json", "scores.json")
    )
    assert evaluated_scores.items() <= final_scores.items()
    sampled = run_cli("sample", f"run={folder.name}", "length=30", *path_overrides).check()
    (file,) = (folder / "samples").glob("written_*.txt")
    assert sampled.out == file.read_text()
    assert {entry.name for entry in tmp_path.iterdir()} == {"runs"}


LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
runpy.run_module("src.train", run_name="__main__")
"""
SAVING = """
import resource, sys
from pathlib import Path
from src.common.errors import UserError
from src.models import serialization
from src.rnn.parameters import RNNConfig, initialize
folder = Path(sys.argv[1])
model = serialization.load(folder)
model.params[:] = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    serialization.save(model, folder)
except UserError as error:
    print(error)
"""


def run_python(code: str, *arguments: str) -> CommandResult:
    return run_process([sys.executable, "-c", code, *arguments], env=environ_without_coverage())


def test_full_disk_ends_run_in_one_line(command: RunCli, path_overrides: list[str], tmp_path: Path) -> None:
    """The event log reaches the limit during training: the same kind of error as a full disk."""
    command("src.preprocess", *path_overrides).check()
    overrides = ("hidden=8", "max_epochs=1", "workers=1", "log_every=1", "eval_every=100000")
    process = run_python(LIMITED, "30000", *overrides, *path_overrides)
    folder = only_run(tmp_path)
    line = f"train: expected a writable path, got {folder} (File too large): change output_dir or data_dir"
    assert (process.rc, process.out) == (2, "")
    assert "Traceback" not in process.err
    assert "Error" not in process.err
    assert process.err.splitlines()[-1] == line
    records = [record for _, record in read_lines(folder, 0)]
    assert records[-1]["kind"] == "metrics"
    assert (folder / NAME).read_bytes().endswith(b"}\n")
    assert not list(folder.rglob("*.tmp"))
    assert close_run(folder), "the run can be closed later"


def test_full_disk_keeps_previous_weights(tmp_path: Path) -> None:
    folder, architecture = tmp_path / "model", RNNConfig(len(CORPUS.vocabulary), hidden=32)
    weights = initialize(architecture, "uniform", np.random.default_rng(0))
    kept = serialization.TrainedModel(architecture, weights, CORPUS.vocabulary, CORPUS.normalization)
    serialization.save(kept, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    process = run_python(SAVING, str(folder))
    assert (process.rc, process.err) == (0, "")
    file = folder / "weights.safetensors"
    expected = f"expected a writable path, got {file} (File too large): change output_dir or data_dir\n"
    assert process.out == expected
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
