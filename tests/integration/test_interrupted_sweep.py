"""Sweeps that were cut off in the middle of a job, and go on there with skip_finished=true."""

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
from tests.commands import TIME_LIMIT, Commands
from tests.conftest import PROJECT, environ
from tests.interrupted import JOB, STEPS, points

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies


# --- sweeps that are killed ---


def broken(where: str, count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A sweep, in a process group of its own, that kills all of it."""
    return subprocess.run(
        [sys.executable, "tests/kill_probe.py", where, str(count), "--multirun", *arguments],
        cwd=PROJECT, env=environ(PYTHONPATH=str(PROJECT)), capture_output=True, text=True, timeout=TIME_LIMIT,
        check=False, start_new_session=True,
    )  # fmt: skip


def by_hidden(outputs: Path) -> dict[int, Path]:
    """The directories of the runs by their numbers of units."""
    files = (outputs / "runs").glob("*/config.json")
    found = {json.loads(file.read_text())["hidden"]: file.parent for file in files}
    assert len(found) == len(list((outputs / "runs").iterdir())), "a job was begun twice"
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, data: Path, command: Commands) -> dict[int, Path]:
    """The jobs of a sweep that nothing happened to."""
    outputs = tmp_path_factory.mktemp("straight")
    where = (f"output_dir={outputs}", f"data_dir={data}", "tracking=none")
    ended = command("src.train", "--multirun", "hidden=8,12", *JOB, *where)
    assert ended.rc == 0, ended.err
    return by_hidden(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["skip_finished=true", "skip_finished=false"])
def test_a_sweep_killed_in_its_second_job_goes_on_there(
    first: str, straight: dict[int, Path], data: Path, tmp_path: Path, command: Commands
) -> None:
    """Killed behind the second checkpoint of the second job, whichever way its jobs were delivered. To the
    bit, in the same run of MLflow, which is a job of the new sweep."""
    where = (f"output_dir={tmp_path}", f"data_dir={data}")
    asked = ("hidden=8,12", *JOB, *where)
    done = broken("checkpoint renamed", 5, *asked, first)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folders = by_hidden(tmp_path)
    again = command("src.train", "--multirun", *asked, "skip_finished=true")
    assert again.rc == 0, again.err
    assert by_hidden(tmp_path) == folders, "no run was begun anew"
    ids = {h: json.loads((f / "sync_state.json").read_text())["run_id"] for h, f in folders.items()}
    assert f"hidden=8: reused run {ids[8]}" in again.err
    assert f"hidden=12: resuming run {folders[12].name} from step 40\n" in again.err
    for hidden, folder in folders.items():
        assert weights(folder) == weights(straight[hidden])
        assert points(folder) == points(straight[hidden])

    (file,) = tmp_path.glob("sweeps/*/jobs.json")
    rows = {row.name: row for row in read_results(file)}
    assert {name: (row.run_id, row.status, row.reused) for name, row in rows.items()} == {
        "hidden=8": (ids[8], "FINISHED", True),
        "hidden=12": (ids[12], "FINISHED", False),
    }
    assert "hidden=12" in file.with_name("comparison.html").read_text()
    assert "FINISHED" in next(line for line in again.out.splitlines() if ids[12] in line and "│" in line)
    from src.tracking.mlflow_client import connect

    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(ids[12])
    assert run.info.status == "FINISHED"
    parent = SyncState.load(file.parent).run_id
    assert run.data.tags["mlflow.parentRunId"] == parent, "the id of the new sweep"
    assert client.get_run(parent).data.metrics["sweep/jobs"] == 2
    curve = [(step, value) for step, name, value in points(straight[12]) if name == "train/loss"]
    assert [(m.step, m.value) for m in client.get_metric_history(ids[12], "train/loss")] == curve


@pytest.mark.slow
def test_a_job_that_ctrl_c_ended_is_not_taken_as_done_and_goes_on(
    straight: dict[int, Path], data: Path, tmp_path: Path, command: Commands
) -> None:
    where = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    asked = ("hidden=8,12", *JOB, *where, "skip_finished=true")
    done = broken("Ctrl-C", 30, *asked)
    assert done.returncode == 130, done.stderr
    folders = by_hidden(tmp_path)
    assert list(folders) == [8]
    end = [record for _, record in read_lines(folders[8], 0)][-1]
    assert (end["status"], end["reason"]) == ("FINISHED", "interrupted")
    again = command("src.train", "--multirun", *asked)
    assert again.rc == 0, again.err
    assert "reused" not in again.err
    assert f"hidden=8: resuming run {folders[8].name} from step 30\n" in again.err
    assert weights(folders[8]) == weights(straight[8])
    new = [point for point in points(folders[8]) if point not in points(straight[8])]
    assert {name for _, name, _ in new} - {"val/loss", "val/bpc"} <= {
        name for step, name, _ in points(straight[8]) if step in (0, STEPS + 1)
    }, "beside those of the first end nothing is otherwise"
    third = command("src.train", "--multirun", *asked)
    assert third.err.count(": reused run ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("told", ["killed with its jobs", "SIGTERM to it alone"])
def test_jobs_that_ran_side_by_side_go_on_side_by_side(
    told: str, straight: dict[int, Path], data: Path, tmp_path: Path, command: Commands
) -> None:
    """Over joblib's processes: ended when both have a checkpoint; the lengths are theirs alone. SIGTERM to
    the launching process closes the sweep and leaves none of its processes behind."""
    where = (f"output_dir={tmp_path}", f"data_dir={data}", "tracking=none")
    asked = ("hidden=8,12", *JOB, "max_epochs=3", "patience=null", *where, "skip_finished=true",
             "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip
    process = started("src.train", "--multirun", *asked)
    wait_for(lambda: len({f.parent for f in tmp_path.glob("runs/*/checkpoints/step_*")}) == 2, process)
    if told == "killed with its jobs":
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIME_LIMIT)
    else:
        process.terminate()
        table, err = process.communicate(timeout=TIME_LIMIT)  # ends when no process holds the pipes any more
        assert (process.returncode, "Traceback" in err) == (143, False)
        assert "train: SIGTERM" in err
        assert [f"│ {hidden} " in table for hidden in (8, 12)] == [True, True]
    folders = by_hidden(tmp_path)
    again = command("src.train", "--multirun", *asked)
    assert again.rc == 0, again.err
    assert by_hidden(tmp_path) == folders
    for hidden, folder in folders.items():
        assert f"hidden={hidden}: resuming run {folder.name} from step " in again.err
        kinds = [record["kind"] for _, record in read_lines(folder, 0)]
        assert kinds.count("resumed") == 1


# --- reproduce ---


def started(*arguments: str, stderr: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
    """`python -m ARGUMENTS` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=PROJECT, env=environ(), stdout=subprocess.PIPE,
        stderr=stderr, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = TIME_LIMIT) -> None:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    assert what(), process.communicate()[1] if process.poll() is not None else "it takes too long"


@pytest.mark.slow
@pytest.mark.parametrize("told", ["it alone", "all, as a terminal does"])
def test_reproduce_ends_cleanly_on_ctrl_c_and_goes_on(told: str, data: Path, tmp_path: Path) -> None:
    line = [
        "src.reproduce",
        "experiments=[state]",
        f"output_dir={tmp_path / 'o'}",
        f"data_dir={data}",
        "tracking=none",
    ]
    said = tmp_path / "stderr.txt"

    def interrupted(seen: Callable[[], bool]) -> str:
        with said.open("w") as file:
            process = started(*line, stderr=file)
        try:
            wait_for(seen, process)
            (os.kill if told == "it alone" else os.killpg)(process.pid, signal.SIGINT)
            process.communicate(timeout=TIME_LIMIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        err = said.read_text()
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert f"resume with: {sys.executable} -m src.reproduce 'experiments=[state]'" in err
        assert err.splitlines()[-1] == "reproduce: interrupted"
        return err

    def taken_over() -> bool:
        return any(words in said.read_text() for words in (": resuming run ", ": reused run "))

    interrupted(lambda: any(tmp_path.glob("o/runs/*/checkpoints/step_*")))
    (begun, *_) = sorted({file.parent.parent for file in tmp_path.glob("o/runs/*/checkpoints/step_*")})
    sweep = json.loads((begun / "sweep.json").read_text())["sweep"]
    interrupted(taken_over)
    assert json.loads((begun / "sweep.json").read_text())["sweep"] != sweep or any(
        tmp_path.glob("o/runs/*/sweep-*.json")
    )
