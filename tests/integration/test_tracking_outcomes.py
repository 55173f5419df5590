"""The MLflow status of killed, diverged and interrupted runs, and runs without tracking."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from src.tracking.sync_state import STALE_REASON
from tests.commands import PROJECT, TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import metric_history, only_run

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


def start_training(*arguments: str) -> subprocess.Popen[str]:
    """Start a long training run in a new process group."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    long_run = ("hidden=16", "max_epochs=100000", "patience=null", "eval_every=50", "log_every=10",
            "figures=false")  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *long_run, *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            return
    raise AssertionError(f"training ended before step {step}")


def test_killed_run_is_marked_failed(command: RunCli, client: Any, trained: Any, tmp_path: Path) -> None:
    process = start_training(*trained.path_overrides, "tracking.experiment=killed")
    wait_for_step(process, 200)
    process.kill()
    process.communicate(timeout=TIME_LIMIT)
    (folder,) = [f for f in (trained.outputs / "runs").iterdir() if belongs_to(f, "killed")]
    deadline = time.monotonic() + TIME_LIMIT
    # the background sync may be faster
    while (folder / "sync.log").exists() and time.monotonic() < deadline:
        state_file = folder / "sync_state.json"
        if state_file.exists() and json.loads(state_file.read_text())["ended"]:
            break
        time.sleep(0.1)
    result = command("src.sync", str(folder)).check()
    run = only_run(client, "killed")
    assert run.info.status == "FAILED"
    assert run.data.tags["stop_reason"] == STALE_REASON
    assert run.info.run_id in result.out
    event_log = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    points = [(r["step"], r["values"]["lr"], r["time"]) for r in event_log if "lr" in r.get("values", {})]
    assert len(points) >= 20
    assert metric_history(client, run.info.run_id, "lr") == points, "all earlier points are kept"


def belongs_to(folder: Path, experiment: str) -> bool:
    return f'"experiment": "{experiment}"' in (folder / "events.jsonl").read_text()[:200]


def test_diverged_run_is_marked_failed(command: RunCli, client: Any, trained: Any) -> None:
    settings = ("hidden=8", "lr=1e30", "clip=null", "tracking.experiment=diverged")
    result = command("src.train", *settings, *trained.path_overrides)
    run = only_run(client, "diverged")
    assert run.info.status == "FAILED"
    assert "expected training to stay finite" in run.data.tags["stop_reason"]
    assert "lr" in run.data.tags["stop_reason"]
    assert result.rc != 0
    assert result.out == ""
    complaint = result.err.splitlines()[-1]
    assert complaint.startswith("train: lr: expected training to stay finite, got ")
    assert "1e+30" in complaint
    other_lines = [
        line for line in result.err.splitlines()[:-1] if not line.startswith(("[", "smallshake: ", "step "))
    ]
    assert other_lines == [], "no other lines on standard error"


def test_ctrl_c_keeps_best_weights(client: Any, trained: Any) -> None:
    process = start_training(*trained.path_overrides, "tracking.experiment=interrupted")
    wait_for_step(process, 200)
    os.killpg(process.pid, signal.SIGINT)  # like a terminal: to every process of the group
    out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "stop reason: interrupted" in err
    run = only_run(client, "interrupted")
    assert run.info.status == "FINISHED"
    assert run.data.tags["stop_reason"] == "interrupted"
    last = out.splitlines()[-1]
    assert last.startswith("test/bpc=")
    assert last.endswith(f"run={run.info.run_id}")
    (folder,) = [f for f in (trained.outputs / "runs").iterdir() if belongs_to(f, "interrupted")]
    assert (folder / "model" / "weights.safetensors").exists()
    losses = [v for r in map(json.loads, (folder / "events.jsonl").read_text().splitlines())
            if (v := r.get("values", {}).get("val/loss")) is not None]  # fmt: skip
    assert run.data.metrics["val/loss"] == min(losses)
    assert len(run.outputs.model_outputs) == 1


def test_tracking_none_creates_no_database(run_cli: RunCli, trained: Any, tmp_path: Path) -> None:
    """The commands find the run in its directory."""
    path_overrides = [f"output_dir={tmp_path / 'o'}", f"data_dir={trained.root / 'data'}", "tracking=none"]
    result = run_cli("train", "hidden=8", "max_epochs=0.02", "workers=1", *path_overrides).check()
    assert {entry.name for entry in (tmp_path / "o").iterdir()} == {"runs"}
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    assert not [name for name in ("tracking.json", "sync.log", "sync_state.json") if (folder / name).exists()]
    assert result.out.splitlines()[-1].endswith(f"run={folder.name}")
    evaluated = run_cli("evaluate", *path_overrides).check()
    assert "test split" in evaluated.out
    evaluated_scores, final_scores = (
        json.loads((folder / name).read_text()) for name in ("evaluation/scores.json", "scores.json")
    )
    assert evaluated_scores == {key: final_scores[key] for key in evaluated_scores}
    sampled = run_cli("sample", f"run={folder.name}", "length=30", *path_overrides).check()
    (file,) = (folder / "samples").glob("written_*.txt")
    assert sampled.out == file.read_text()
    assert {entry.name for entry in (tmp_path / "o").iterdir()} == {"runs"}
