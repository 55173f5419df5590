"""Interrupted sweeps are resumed with skip_finished=true."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.job_result import read_results
from src.tracking.event_log import read_lines
from src.tracking.sync_state import SyncState
from tests.checkpointed_job import JOB, STEPS, points
from tests.commands import PROJECT, TIME_LIMIT, CommandResult, RunCli, environ, run_process
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = [ignore_mlflow_warnings, pytest.mark.slow]


def run_killed_sweep(place: str, count: int, *arguments: str) -> CommandResult:
    """Run a sweep that kills its whole process group."""
    return run_process(
        [sys.executable, "tests/fault_injection.py", place, str(count), "--multirun", *arguments],
        env=environ(PYTHONPATH=str(PROJECT)),
        start_new_session=True,
    )


def by_hidden(outputs: Path) -> dict[int, Path]:
    """Return the run directories by hidden size."""
    files = (outputs / "runs").glob("*/config.json")
    found = {json.loads(file.read_text())["hidden"]: file.parent for file in files}
    assert len(found) == len(list((outputs / "runs").iterdir())), "a job was started twice"
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data: Path, command: RunCli) -> dict[int, Path]:
    """The runs of a sweep without interruption."""
    outputs = tmp_path_factory.mktemp("straight")
    path_overrides = (f"output_dir={outputs}", f"data_dir={data}", "tracking=none")
    command("src.train", "--multirun", "hidden=8,12", *JOB, *path_overrides).check()
    return by_hidden(outputs)


@pytest.mark.parametrize("skip_finished", ["skip_finished=true", "skip_finished=false"])
def test_killed_sweep_resumes_second_job(
    skip_finished: str, uninterrupted: dict[int, Path], data: Path, tmp_path: Path, command: RunCli
) -> None:
    """Killed after the second checkpoint of the second job. The result is bit-identical, in the same MLflow
    run, which becomes a job of the new sweep."""
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}")
    overrides = ("hidden=8,12", *JOB, *path_overrides)
    process = run_killed_sweep("checkpoint renamed", 5, *overrides, skip_finished)
    assert process.rc == -signal.SIGKILL, process.err
    folders = by_hidden(tmp_path)
    again = command("src.train", "--multirun", *overrides, "skip_finished=true").check()
    assert by_hidden(tmp_path) == folders, "no new run"
    ids = {h: json.loads((f / "sync_state.json").read_text())["run_id"] for h, f in folders.items()}
    assert f"hidden=8: reused run {ids[8]}" in again.err
    assert f"hidden=12: resuming run {folders[12].name} from step 40\n" in again.err
    for hidden, folder in folders.items():
        assert weights(folder) == weights(uninterrupted[hidden])
        assert points(folder) == points(uninterrupted[hidden])

    (file,) = tmp_path.glob("sweeps/*/jobs.json")
    rows = {row.name: row for row in read_results(file)}
    assert {name: (row.run_id, row.status, row.reused) for name, row in rows.items()} == {
        "hidden=8": (ids[8], "FINISHED", True),
        "hidden=12": (ids[12], "FINISHED", False),
    }
    assert "hidden=12" in file.with_name("comparison.html").read_text()
    assert "FINISHED" in next(line for line in again.out.splitlines() if ids[12] in line and "│" in line)
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(ids[12])
    assert run.info.status == "FINISHED"
    parent = SyncState.load(file.parent).run_id
    assert run.data.tags["mlflow.parentRunId"] == parent, "parent run of the new sweep"
    assert client.get_run(parent).data.metrics["sweep/jobs"] == 2
    curve = [(step, value) for step, name, value in points(uninterrupted[12]) if name == "train/loss"]
    assert [(m.step, m.value) for m in client.get_metric_history(ids[12], "train/loss")] == curve


def test_interrupted_job_is_resumed(
    uninterrupted: dict[int, Path], data: Path, tmp_path: Path, command: RunCli
) -> None:
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    overrides = ("hidden=8,12", *JOB, *path_overrides, "skip_finished=true")
    process = run_killed_sweep("Ctrl-C", 30, *overrides)
    assert process.rc == 130, process.err
    folders = by_hidden(tmp_path)
    assert list(folders) == [8]
    end_event = [record for _, record in read_lines(folders[8], 0)][-1]
    assert (end_event["status"], end_event["reason"]) == ("FINISHED", "interrupted")
    again = command("src.train", "--multirun", *overrides).check()
    assert "reused" not in again.err
    assert f"hidden=8: resuming run {folders[8].name} from step 30\n" in again.err
    assert weights(folders[8]) == weights(uninterrupted[8])
    new = [point for point in points(folders[8]) if point not in points(uninterrupted[8])]
    assert {name for _, name, _ in new} - {"val/loss", "val/bpc"} <= {
        name for step, name, _ in points(uninterrupted[8]) if step in (0, STEPS + 1)
    }, "only the points of the first end differ"
    third = command("src.train", "--multirun", *overrides)
    assert third.err.count(": reused run ") == 2


@pytest.mark.parametrize("target", ["killed with its jobs", "SIGTERM to it alone"])
def test_parallel_jobs_are_resumed(
    target: str, uninterrupted: dict[int, Path], data: Path, tmp_path: Path, command: RunCli
) -> None:
    """Stopped when both jobs of joblib have a checkpoint. SIGTERM to the launching process closes the sweep
    and leaves no processes."""
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    overrides = ("hidden=8,12", *JOB, "max_epochs=3", "patience=null", *path_overrides, "skip_finished=true",
             "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip
    process = start("src.train", "--multirun", *overrides)
    wait_for(lambda: len({f.parent for f in tmp_path.glob("runs/*/checkpoints/step_*")}) == 2, process)
    if target == "killed with its jobs":
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIME_LIMIT)
    else:
        process.terminate()
        table, err = process.communicate(timeout=TIME_LIMIT)  # ends when no process holds the pipes
        assert (process.returncode, "Traceback" in err) == (143, False)
        assert "train: SIGTERM" in err
        assert [f"│ {hidden} " in table for hidden in (8, 12)] == [True, True]
    folders = by_hidden(tmp_path)
    again = command("src.train", "--multirun", *overrides).check()
    assert by_hidden(tmp_path) == folders
    for hidden, folder in folders.items():
        assert f"hidden={hidden}: resuming run {folder.name} from step " in again.err
        kinds = [record["kind"] for _, record in read_lines(folder, 0)]
        assert kinds.count("resumed") == 1


def start(*arguments: str, stderr: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
    """Start `python -m ARGUMENTS` in a new process group."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=PROJECT, env=environ(), stdout=subprocess.PIPE,
        stderr=stderr, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(
    condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = TIME_LIMIT
) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert condition(), process.communicate()[1] if process.poll() is not None else "it takes too long"


@pytest.mark.parametrize("target", ["it alone", "all, as a terminal does"])
def test_reproduce_is_interrupted_and_resumed(target: str, data: Path, tmp_path: Path) -> None:
    arguments = [
        "src.reproduce",
        "experiments=[state]",
        f"output_dir={tmp_path / 'o'}",
        f"data_dir={data}",
        "tracking=none",
    ]
    stderr_file = tmp_path / "stderr.txt"

    def interrupt_when(condition: Callable[[], bool]) -> str:
        with stderr_file.open("w") as file:
            process = start(*arguments, stderr=file)
        try:
            wait_for(condition, process)
            (os.kill if target == "it alone" else os.killpg)(process.pid, signal.SIGINT)
            process.communicate(timeout=TIME_LIMIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        err = stderr_file.read_text()
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert f"resume with: {sys.executable} -m src.reproduce 'experiments=[state]'" in err
        assert err.splitlines()[-1] == "reproduce: interrupted"
        return err

    def has_resumed() -> bool:
        return any(words in stderr_file.read_text() for words in (": resuming run ", ": reused run "))

    interrupt_when(lambda: any(tmp_path.glob("o/runs/*/checkpoints/step_*")))
    (started_run, *_) = sorted({file.parent.parent for file in tmp_path.glob("o/runs/*/checkpoints/step_*")})
    sweep = json.loads((started_run / "sweep.json").read_text())["sweep"]
    interrupt_when(has_resumed)
    assert json.loads((started_run / "sweep.json").read_text())["sweep"] != sweep or any(
        tmp_path.glob("o/runs/*/sweep-*.json")
    )
