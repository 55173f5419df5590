"""Sweeps that were cut off in the middle of a job, and go on there with skip_finished=true."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.config import Config
from src.lab.resume import checkpoint
from src.lab.resume.resuming import saved_config
from src.lab.resume.unfinished import find_unfinished
from src.lab.runs.dead_runs import REASON
from src.lab.runs.holding import hold
from src.lab.runs.journal import Journal, read
from src.lab.runs.rows import read_rows
from src.lab.sweeps.kept import find_finished
from tests.conftest import PROJECT, environ, run_command

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
SMALL = ("max_epochs=0.05", "eval_every=20", "log_every=5", "length=20", "workers=1", "probe=false")
STEPS = 60  # of each job: checkpoints at 20, 40 and 60
TIMES = {"chars_per_second", "train/seconds"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


# --- which run goes on ---


@pytest.fixture(scope="module")
def trained_alone(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The directory of an untracked run of 60 steps."""
    outputs = tmp_path_factory.mktemp("alone")
    places = (f"outputs={outputs}", f"data_dir={data}", "tracking=none")
    ended = run_command("src.train", "hidden=8", *SMALL, *places, timeout=300)
    assert ended.rc == 0, ended.err
    (folder,) = (outputs / "runs").iterdir()
    return folder


class Runs:
    """Copies of one run that ended otherwise."""

    def __init__(self, model: Path, outputs: Path) -> None:
        self.model, self.outputs = model, outputs
        self.config: Config = saved_config(model)
        self.config.outputs = str(outputs)
        self.records = [record for _, record in read(model, 0)]
        self.digest = self.records[0]["tags"]["job_digest"]

    def add(self, name: str, status: str = "", reason: str = "", step: int = STEPS) -> Path:
        """status: how it ended, "" for not at all. step: of its newest checkpoint."""
        folder = self.outputs / "runs" / name
        shutil.copytree(self.model, folder)
        lines = [json.dumps(record) for record in self.records if record["kind"] != "end"]
        (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")
        if status:
            Journal(folder).end(status, reason)
        for path in checkpoint.all_of(folder):
            if int(path.stem.partition("_")[2]) > step:
                path.unlink()
        return folder

    def find(self, digest: str = "") -> Any:
        return find_unfinished(self.config, digest or self.digest, "hidden=8")


@pytest.fixture
def runs(trained_alone: Path, tmp_path: Path) -> Runs:
    return Runs(trained_alone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "reason", "goes_on"),
    [
        ("", "", True),
        ("FAILED", REASON, True),
        ("KILLED", "interrupted", True),
        ("KILLED", "SIGTERM", True),
        ("FINISHED", "interrupted", True),
        ("FAILED", "MemoryError: ", True),
        ("FINISHED", "max_epochs", False),
        ("FINISHED", "hopeless", False),
        ("FAILED", "Diverged: lr: expected training to stay finite", False),
        ("FAILED", "InputError: prompt: expected", False),
    ],
)
def test_what_was_cut_off_goes_on_and_what_would_fail_again_does_not(
    runs: Runs, status: str, reason: str, goes_on: bool
) -> None:
    folder = runs.add("one", status, reason)
    found = runs.find()
    assert bool(found) == goes_on
    if found:
        assert (found.folder, found.step, found.status) == (folder, STEPS, status or "RUNNING")
        found.release()


@pytest.mark.slow
def test_a_run_that_went_on_and_was_killed_is_not_done_because_it_was_scored_once(runs: Runs) -> None:
    """Ctrl-C left it FINISHED with scores, for what it had."""
    folder = runs.add("one", "FINISHED", "interrupted")
    assert (folder / "scores.json").exists()
    assert find_finished(runs.config, runs.digest) is None
    Journal(folder).resume()
    assert find_finished(runs.config, runs.digest) is None
    Journal(folder).end("KILLED", "SIGTERM")
    assert find_finished(runs.config, runs.digest) is None
    runs.add("two", "FINISHED", "max_epochs")
    found = find_finished(runs.config, runs.digest)
    assert found
    assert found[0] == "two"


@pytest.mark.slow
def test_of_several_the_one_that_came_furthest_goes_on_and_the_others_are_left(runs: Runs) -> None:
    runs.add("a", step=40)
    further = runs.add("b")
    runs.add("c", "KILLED", "SIGTERM", step=40)
    found = runs.find()
    assert (found.folder, found.step) == (further, STEPS)
    for name in ("a", "c"):
        hold(runs.outputs / "runs" / name, patience=0).release()
    assert runs.find("another job") is None
    second = runs.find()
    assert second.step == 40, "the first one is at work: two never go on with the same run"
    third = runs.find()
    assert {second.folder.name, third.folder.name} == {"a", "c"}
    assert runs.find() is None
    for each in (found, second, third):
        each.release()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_without_a_whole_one_the_job_begins_anew(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs.add("one")
    newest, older = checkpoint.all_of(folder)
    newest.write_bytes(newest.read_bytes()[:-100])
    found = runs.find()
    assert found.step == 40
    found.release()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hidden=8: {newest.name} is damaged")
    older.write_bytes(b"\0" * older.stat().st_size)
    assert runs.find() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hidden=8: run one cannot go on: expected a whole checkpoint in ")
    hold(folder, patience=0).release()


@pytest.mark.slow
def test_a_run_that_another_store_knows_does_not_go_on_in_this_one(runs: Runs) -> None:
    folder = runs.add("one", "KILLED", "SIGTERM")
    (folder / "tracking.json").write_text(json.dumps({"uri": "sqlite:////elsewhere.db", "artifacts": ""}))
    (folder / "delivered.json").write_text(json.dumps({"offset": 10, "run_id": "f" * 32}))
    runs.config.tracking.name = "mlflow"
    assert runs.find() is None
    runs.config.tracking.uri = "sqlite:////elsewhere.db"
    found = runs.find()
    assert found.folder == folder
    found.release()


# --- sweeps that are killed ---


def broken(where: str, count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A sweep, in a process group of its own, that kills all of it."""
    return subprocess.run(
        [sys.executable, "tests/kill_probe.py", where, str(count), "--multirun", *arguments],
        cwd=PROJECT, env=environ(PYTHONPATH=str(PROJECT)), capture_output=True, text=True, timeout=300,
        check=False, start_new_session=True,
    )  # fmt: skip


def points(folder: Path) -> list[tuple[int, str, float]]:
    """Every point of every metric in the order in which it was told, but for those that tell the time."""
    told = [record for _, record in read(folder, 0) if record["kind"] == "metrics"]
    return [(r["step"], n, v) for r in told for n, v in r["values"].items() if n not in TIMES]


def by_hidden(outputs: Path) -> dict[int, Path]:
    """The directories of the runs by their numbers of units."""
    files = (outputs / "runs").glob("*/config.json")
    found = {json.loads(file.read_text())["hidden"]: file.parent for file in files}
    assert len(found) == len(list((outputs / "runs").iterdir())), "a job was begun twice"
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model" / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[int, Path]:
    """The jobs of a sweep that nothing happened to."""
    outputs = tmp_path_factory.mktemp("straight")
    where = (f"outputs={outputs}", f"data_dir={data}", "tracking=none")
    ended = run_command("src.train", "--multirun", "hidden=8,12", *SMALL, *where, timeout=300)
    assert ended.rc == 0, ended.err
    return by_hidden(outputs)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["skip_finished=true", "skip_finished=false"])
def test_a_sweep_killed_in_its_second_job_goes_on_there(
    first: str, straight: dict[int, Path], data: Path, tmp_path: Path
) -> None:
    """Killed behind the second checkpoint of the second job, whichever way its jobs were delivered. To the
    bit, in the same run of MLflow, which is a job of the new sweep."""
    where = (f"outputs={tmp_path}", f"data_dir={data}")
    asked = ("hidden=8,12", *SMALL, *where)
    done = broken("checkpoint renamed", 5, *asked, first)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folders = by_hidden(tmp_path)
    again = run_command("src.train", "--multirun", *asked, "skip_finished=true", timeout=300)
    assert again.rc == 0, again.err
    assert by_hidden(tmp_path) == folders, "no run was begun anew"
    ids = {h: json.loads((f / "delivered.json").read_text())["run_id"] for h, f in folders.items()}
    assert f"hidden=8: reused run {ids[8]}" in again.err
    assert f"hidden=12: goes on: run {folders[12].name} from step 40\n" in again.err
    for hidden, folder in folders.items():
        assert weights(folder) == weights(straight[hidden])
        assert points(folder) == points(straight[hidden])

    (file,) = tmp_path.glob("sweeps/*/jobs.json")
    rows = {row.name: row for row in read_rows(file)}
    assert {name: (row.run_id, row.status, row.reused) for name, row in rows.items()} == {
        "hidden=8": (ids[8], "FINISHED", True),
        "hidden=12": (ids[12], "FINISHED", False),
    }
    assert "hidden=12" in file.with_name("comparison.html").read_text()
    assert "FINISHED" in next(line for line in again.out.splitlines() if ids[12] in line and "│" in line)
    from src.lab.tracking.mlflow_client import connect

    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(ids[12])
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == file.parent.name, "the id of the new sweep"
    assert client.get_run(file.parent.name).data.metrics["sweep/jobs"] == 2
    curve = [(step, value) for step, name, value in points(straight[12]) if name == "train/loss"]
    assert [(m.step, m.value) for m in client.get_metric_history(ids[12], "train/loss")] == curve


@pytest.mark.slow
def test_a_job_that_ctrl_c_ended_is_not_taken_as_done_and_goes_on(
    straight: dict[int, Path], data: Path, tmp_path: Path
) -> None:
    where = (f"outputs={tmp_path}", f"data_dir={data}", "tracking=none")
    asked = ("hidden=8,12", *SMALL, *where, "skip_finished=true")
    done = broken("Ctrl-C", 30, *asked)
    assert done.returncode == 130, done.stderr
    folders = by_hidden(tmp_path)
    assert list(folders) == [8]
    end = [record for _, record in read(folders[8], 0)][-1]
    assert (end["status"], end["reason"]) == ("FINISHED", "interrupted")
    again = run_command("src.train", "--multirun", *asked, timeout=300)
    assert again.rc == 0, again.err
    assert "reused" not in again.err
    assert f"hidden=8: goes on: run {folders[8].name} from step 30\n" in again.err
    assert weights(folders[8]) == weights(straight[8])
    new = [point for point in points(folders[8]) if point not in points(straight[8])]
    assert {name for _, name, _ in new} - {"val/loss", "val/bpc"} <= {
        name for step, name, _ in points(straight[8]) if step in (0, STEPS + 1)
    }, "beside those of the first end nothing is otherwise"
    third = run_command("src.train", "--multirun", *asked, timeout=300)
    assert third.err.count(": reused run ") == 2


@pytest.mark.slow
@pytest.mark.parametrize("told", ["killed with its jobs", "SIGTERM to it alone"])
def test_jobs_that_ran_side_by_side_go_on_side_by_side(
    told: str, straight: dict[int, Path], data: Path, tmp_path: Path
) -> None:
    """Over joblib's processes: ended when both have a checkpoint; the lengths are theirs alone. SIGTERM to
    the launching process closes the sweep and leaves none of its processes behind."""
    where = (f"outputs={tmp_path}", f"data_dir={data}", "tracking=none")
    asked = ("hidden=8,12", *SMALL, "max_epochs=3", "patience=null", *where, "skip_finished=true",
             "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip
    process = started("src.train", "--multirun", *asked)
    wait_for(lambda: len({f.parent for f in tmp_path.glob("runs/*/checkpoints/step_*")}) == 2, process)
    if told == "killed with its jobs":
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    else:
        process.terminate()
        table, err = process.communicate(timeout=60)  # ends when no process holds the pipes any more
        assert (process.returncode, "Traceback" in err) == (143, False)
        assert "train: SIGTERM" in err
        assert [f"│ {hidden} " in table for hidden in (8, 12)] == [True, True]
    folders = by_hidden(tmp_path)
    again = run_command("src.train", "--multirun", *asked, timeout=500)
    assert again.rc == 0, again.err
    assert by_hidden(tmp_path) == folders
    for hidden, folder in folders.items():
        assert f"hidden={hidden}: goes on: run {folder.name} from step " in again.err
        kinds = [record["kind"] for _, record in read(folder, 0)]
        assert kinds.count("resumed") == 1


# --- reproduce ---


def started(*arguments: str) -> "subprocess.Popen[str]":
    """`python -m ARGUMENTS` in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=PROJECT, env=environ(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    assert what(), process.communicate()[1] if process.poll() is not None else "it takes too long"


@pytest.mark.slow
@pytest.mark.parametrize("told", ["it alone", "all, as a terminal does"])
def test_reproduce_ends_cleanly_on_ctrl_c_and_goes_on(told: str, data: Path, tmp_path: Path) -> None:
    line = ["src.reproduce", "only=[state]", f"outputs={tmp_path}", f"data_dir={data}", "tracking=none"]

    def interrupted(seen: Callable[[], bool]) -> str:
        process = started(*line)
        try:
            wait_for(seen, process)
            (os.kill if told == "it alone" else os.killpg)(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=240)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert f"go on where it was interrupted with: {sys.executable} -m src.reproduce 'only=[state]'" in err
        assert err.splitlines()[-1] == "reproduce: interrupted"
        return str(err)

    interrupted(lambda: any(tmp_path.glob("runs/*/checkpoints/step_*")))
    (begun, *_) = sorted({file.parent.parent for file in tmp_path.glob("runs/*/checkpoints/step_*")})
    sweep = json.loads((begun / "sweep.json").read_text())["sweep"]
    err = interrupted(
        lambda: (
            json.loads((begun / "sweep.json").read_text())["sweep"] != sweep
            or any(tmp_path.glob("runs/*/sweep-*.json"))
        )
    )
    assert ": goes on: run " in err or ": reused run " in err
