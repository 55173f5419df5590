"""Interrupted sweeps are resumed with skip_finished=true."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from src.common.job_result import read_results
from src.tracking.event_log import read_lines
from tests.checkpointed_job import JOB, STEPS, points
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.processes import start, wait_for
from tests.sweep_runs import NewDatabase, assert_synced, sweep_runs

pytestmark = [ignore_mlflow_warnings, pytest.mark.slow]


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


def test_killed_sweep_resumes_second_job(
    uninterrupted: dict[int, Path], data: Path, tmp_path: Path, command: RunCli, new_database: NewDatabase
) -> None:
    """Killed after the second checkpoint of the second job. The result is bit-identical, in the same MLflow
    run, which becomes a job of the new sweep."""
    uri = new_database(tmp_path)
    overrides = ("--multirun", "hidden=8,12", *JOB, f"output_dir={tmp_path}", f"data_dir={data}")
    killed = command("tests.fault_injection", "checkpoint renamed", "5", *overrides)
    assert killed.rc == -signal.SIGKILL, killed.err
    folders = by_hidden(tmp_path)
    again = command("src.train", *overrides, "skip_finished=true").check()
    assert by_hidden(tmp_path) == folders, "no new run"
    ids = {h: json.loads((f / "sync_state.json").read_text())["run_id"] for h, f in folders.items()}
    assert f"job 1/2 hidden=8 | reused run {ids[8]}" in again.err
    assert f"job 2/2 hidden=12 | resuming run {folders[12].name} from step 40\n" in again.err
    for hidden, folder in folders.items():
        assert weights(folder) == weights(uninterrupted[hidden])
        assert points(folder) == points(uninterrupted[hidden])

    (file,) = tmp_path.glob("sweeps/*/jobs.json")
    rows = [(row.name, row.run_id, row.status, row.reused) for row in read_results(file)]
    assert sorted(rows) == [
        ("hidden=12", ids[12], "FINISHED", False), ("hidden=8", ids[8], "FINISHED", True)
    ]  # fmt: skip
    assert "hidden=12" in file.with_name("comparison.html").read_text()
    assert "FINISHED" in next(line for line in again.out.splitlines() if ids[12] in line and "│" in line)
    parent, (run,) = sweep_runs(uri)
    assert parent.data.metrics["sweep/jobs"] == 2
    assert (run.info.run_id, run.info.status) == (ids[12], "FINISHED"), "a job of the new sweep"
    assert_synced(folders[12], uri)


def test_interrupted_job_is_resumed(
    uninterrupted: dict[int, Path], data: Path, tmp_path: Path, command: RunCli
) -> None:
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    overrides = ("--multirun", "hidden=8,12", *JOB, *path_overrides, "skip_finished=true")
    interrupted = command("tests.fault_injection", "Ctrl-C", "30", *overrides)
    assert interrupted.rc == 130, interrupted.err
    (folder,) = by_hidden(tmp_path).values()
    end_event = [record for _, record in read_lines(folder, 0)][-1]
    assert (end_event["status"], end_event["reason"]) == ("FINISHED", "interrupted")
    again = command("src.train", *overrides).check()
    assert "reused" not in again.err
    assert f"hidden=8 | resuming run {folder.name} from step 30\n" in again.err
    assert weights(folder) == weights(uninterrupted[8])
    new = [point for point in points(folder) if point not in points(uninterrupted[8])]
    assert {name for _, name, _ in new} - {"val/loss", "val/bpc"} <= {
        name for step, name, _ in points(uninterrupted[8]) if step in (0, STEPS + 1)
    }, "only the points of the first end differ"
    third = command("src.train", *overrides)
    assert third.err.count(" | reused run ") == 2


def test_parallel_jobs_are_resumed(data: Path, tmp_path: Path, command: RunCli) -> None:
    """Both jobs of joblib have a checkpoint at SIGTERM to the launching process, which closes the sweep and
    leaves no processes. The resumed jobs are killed, and resumed again."""
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    arguments = ("src.train", "--multirun", "hidden=8,12", *JOB, "max_epochs=3", "patience=null",
                 "skip_finished=true", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
                 *path_overrides)  # fmt: skip

    def resumed() -> list[int]:
        """Return how often each job has been resumed."""
        logs = [[record["kind"] for _, record in read_lines(f, 0)] for f in by_hidden(tmp_path).values()]
        return [kinds.count("resumed") for kinds in logs]

    process = start(*arguments)
    wait_for(lambda: len({f.parent for f in tmp_path.glob("runs/*/checkpoints/step_*")}) == 2, process)
    process.terminate()
    table, err = process.communicate(timeout=TIME_LIMIT)  # ends when no process holds the pipes
    assert (process.returncode, "Traceback" in err) == (143, False)
    assert "train: SIGTERM" in err
    assert all(f"│ {hidden} " in table for hidden in (8, 12))
    folders = by_hidden(tmp_path)
    process = start(*arguments)
    wait_for(lambda: resumed() == [1, 1], process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=TIME_LIMIT)
    again = command(*arguments).check()
    assert by_hidden(tmp_path) == folders
    assert resumed() == [2, 2]
    for hidden, folder in folders.items():
        assert f"hidden={hidden} | resuming run {folder.name} from step " in again.err


def test_reproduce_is_interrupted_and_resumed(data: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes, as from a terminal, and then only the launching process."""
    arguments = ("src.reproduce", "experiments=[state]", f"output_dir={tmp_path / 'o'}", f"data_dir={data}",
                 "tracking=none")  # fmt: skip

    def interrupt_when(marker: str, everywhere: bool) -> None:
        """Interrupt the command when its output has the marker."""
        file = tmp_path / "stderr.txt"
        with file.open("w") as stderr:
            process = start(*arguments, stderr=stderr)
        try:
            wait_for(lambda: marker in file.read_text() or any(tmp_path.glob(marker)), process)
            (os.killpg if everywhere else os.kill)(process.pid, signal.SIGINT)
            process.communicate(timeout=TIME_LIMIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        err = file.read_text()
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert f"resume with: {sys.executable} -m src.reproduce 'experiments=[state]'" in err
        assert err.splitlines()[-1] == "reproduce: interrupted"
        assert re.search(r"^== experiment 1/1 state, total \d+ (s|min) left$", err, re.M)
        assert re.search(r"^1/1 state, job 1/6 variant=state/reset seed=1 \| ", err, re.M)
        assert not (tmp_path / "o" / "runs").exists(), "latest and best are the runs of the user"

    interrupt_when("o/reproduction/runs/*/checkpoints/step_*", everywhere=True)
    (started_run, *_) = sorted(
        {file.parent.parent for file in tmp_path.glob("o/reproduction/runs/*/checkpoints/step_*")}
    )
    sweep = json.loads((started_run / "sweep.json").read_text())["sweep"]
    interrupt_when("| resuming run ", everywhere=False)
    assert json.loads((started_run / "sweep.json").read_text())["sweep"] != sweep or any(
        tmp_path.glob("o/reproduction/runs/*/sweep-*.json")
    )
