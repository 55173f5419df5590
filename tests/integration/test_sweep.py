"""Sweeps: parent and child runs, failures, reuse, interruption, and the final table."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from src.common.job_result import JobResult, best_of
from src.tracking.sweep import Job, Sweep
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = ignore_mlflow_warnings
PROJECT = Path(__file__).resolve().parents[2]
SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip


def paths_below(root: Path) -> list[str]:
    return [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]


def run_sweep(command: RunCli, root: Path, *arguments: str) -> Any:
    return command("src.train", "--multirun", *arguments, *SMALL, *paths_below(root))


def client_of(root: Path) -> Any:
    return connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")


def runs_of(client: Any, path_overrides: str) -> list[Any]:
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    return list(client.search_runs([experiment], path_overrides, order_by=["attributes.start_time"]))


def job(keys: list[str], **overrides: str) -> Job:
    return Job(Sweep("parent", "sweep", keys), 3, overrides)


def test_job_name_lists_swept_keys() -> None:
    assert job(["hidden", "clip"], seed="1", clip="5", hidden="64").name == "hidden=64 clip=5"
    assert job([], seed="1").name == "job 3"


def test_sweep_is_passed_through_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    assert Sweep.from_env() is None
    sweep = Sweep("id", "name", ["hidden"])
    sweep.export_env()
    assert Sweep.from_env() == sweep


def job_result(number: int, status: str = "FINISHED", /, **metrics: float) -> JobResult:
    return JobResult(
        f"hidden={number}", number, {"hidden": str(number)}, str(number), status, metrics=metrics
    )


def test_best_result_has_lowest_val_loss() -> None:
    low = {"val/loss": 1.0}
    rows = [
        job_result(1, **{"val/loss": 2.0}),
        job_result(2, **{"val/loss": 1.5}),
        job_result(3, "FAILED", **low),
        job_result(4),
    ]
    assert best_of(rows) is rows[1]
    assert best_of([rows[2], rows[3]]) is None
    assert best_of([]) is None


@pytest.mark.parametrize(
    ("overrides", "params", "keys"),
    [
        (["hidden=64,128", "seed=1", "clip=1,5"], {}, ["hidden", "clip"]),
        (["hidden=64", "seed=range(3)"], {"lr": "interval(1,2)"}, ["seed", "lr"]),
        (["model=rnn,lstm", "+x=choice(1,2)"], {}, ["model", "+x"]),
        (["prompt='a,b'"], {}, []),
    ],
)
def test_swept_keys_have_several_values(
    overrides: list[str], params: dict[str, str], keys: list[str]
) -> None:
    from src.sweeps.hydra_callback import swept_keys

    assert swept_keys(overrides, params) == keys


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def sweep_result(command: RunCli, root: Path) -> Any:
    return run_sweep(command, root, "hidden=8,0,16", "clip=1")


@pytest.fixture(scope="module")
def parent(sweep_result: Any, root: Path) -> Any:
    (found,) = runs_of(client_of(root), "tags.stage = 'sweep'")
    return found


@pytest.fixture(scope="module")
def children(parent: Any, root: Path) -> list[Any]:
    return runs_of(client_of(root), f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")


@pytest.mark.slow
def test_failed_job_sets_exit_status_of_sweep(sweep_result: Any) -> None:
    assert sweep_result.rc == 1
    assert "Traceback" not in sweep_result.err
    complaint = "expected an integer >= 1, got 0"
    assert f"train: hidden=0: hidden: {complaint}" in sweep_result.err
    assert f"FAILED hidden=0: hidden: {complaint}" in sweep_result.err


@pytest.mark.slow
def test_jobs_are_child_runs(parent: Any, children: list[Any]) -> None:
    assert parent.info.run_name == "hidden=8,0,16"
    assert [child.info.run_name for child in children] == ["hidden=8", "hidden=0", "hidden=16"]
    assert [child.info.status for child in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert [child.data.params["hidden"] for child in children] == ["8", "0", "16"]
    assert "expected an integer >= 1, got 0" in children[1].data.tags["stop_reason"]


@pytest.mark.slow
def test_parent_run_has_best_job_and_report(
    parent: Any, children: list[Any], root: Path, sweep_result: Any
) -> None:
    losses = [child.data.metrics["val/loss"] for child in (children[0], children[2])]
    best = min((children[0], children[2]), key=lambda child: child.data.metrics["val/loss"])
    assert parent.data.tags["sweep.best"] == best.info.run_name
    assert parent.data.tags["sweep.best_run"] == best.info.run_id
    assert parent.data.metrics["val/loss"] == pytest.approx(min(losses))
    assert parent.data.metrics["test/bpc"] == best.data.metrics["test/bpc"]
    assert parent.data.metrics["sweep/jobs"] == 3
    assert parent.data.metrics["sweep/failed"] == 1
    assert parent.info.status == "FAILED"
    client = client_of(root)
    assert "comparison.html" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert f"best: {best.info.run_name} val/loss={min(losses):.4f} run={best.info.run_id}" in sweep_result.out


@pytest.mark.slow
def test_table_lists_jobs_best_first(sweep_result: Any, children: list[Any]) -> None:
    lines = [
        line
        for line in sweep_result.out.splitlines()
        if re.search(r"[0-9a-f]{32}", line) and "\u2502" in line
    ]
    assert len(lines) == 3
    finished = sorted((children[0], children[2]), key=lambda child: child.data.metrics["val/loss"])
    for line, child in zip(lines, [*finished, children[1]], strict=True):
        assert child.info.run_id in line
        assert child.info.status in line
    for line, child in zip(lines, finished, strict=False):
        assert f"{child.data.metrics['val/loss']:.4f}" in line
        assert f"{child.data.metrics['test/bpc']:.4f}" in line
    assert "best" in lines[0]


@pytest.mark.slow
def test_skip_finished_reuses_finished_runs(
    sweep_result: Any, parent: Any, children: list[Any], command: RunCli, root: Path
) -> None:
    again = run_sweep(command, root, "hidden=8,16,12", "clip=1", "skip_finished=true").check()
    for child in (children[0], children[2]):
        assert f"{child.info.run_name}: reused run {child.info.run_id}" in again.err
    client = client_of(root)
    second = next(
        run for run in runs_of(client, "tags.stage = 'sweep'") if run.info.run_id != parent.info.run_id
    )
    trained = runs_of(client, f"tags.`mlflow.parentRunId` = '{second.info.run_id}'")
    assert [run.info.run_name for run in trained] == ["hidden=12"]
    assert second.data.metrics["sweep/jobs"] == 3
    assert again.out.count("reused") == 2


@pytest.mark.slow
def test_untracked_sweep_has_table(command: RunCli, tmp_path: Path, root: Path, sweep_result: Any) -> None:
    path_overrides = [f"output_dir={tmp_path}", f"data_dir={root / 'data'}"]
    arguments = ("src.train", "--multirun", "hidden=8,0", "tracking=none", *SMALL, *path_overrides)
    result = command(*arguments)
    assert result.rc == 1
    assert "best: hidden=8 val/loss=" in result.out
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in result.err
    (page,) = tmp_path.glob("sweeps/*/comparison.html")
    assert "hidden=8" in page.read_text(encoding="utf-8")
    again = command(*arguments, "skip_finished=true")
    assert "hidden=8: reused run" in again.err
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_ctrl_c_ends_job_and_sweep(root: Path, tmp_path: Path, sweep_result: Any) -> None:
    path_overrides = [f"output_dir={tmp_path}", f"data_dir={root / 'data'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", "--multirun", "hidden=8,64", "max_epochs=500", "patience=null",
         "figures=false", "eval_every=20", "length=20", "workers=1", *path_overrides],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + TIME_LIMIT
        while time.monotonic() < deadline and not any(
            '"metrics"' in file.read_text() for file in tmp_path.glob("runs/*/events.jsonl")
        ):
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIME_LIMIT)
    finally:
        process.kill()
    assert process.returncode == 130, err
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (parent,) = runs_of(client, "tags.stage = 'sweep'")
    children = runs_of(client, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert parent.info.status == "KILLED"
    assert [(child.info.status, child.data.tags["stop_reason"]) for child in children] == [
        ("FINISHED", "interrupted")
    ]
    assert "test/bpc" in children[0].data.metrics


@pytest.mark.slow
def test_exception_in_job_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    from src.sweeps import job as sweep_job

    def fail(config: Any, job: Any) -> float:
        if config.hidden == 8:
            raise ZeroDivisionError("a bug")
        return 1.0

    monkeypatch.setattr(sweep_job, "run_job", fail)
    result = run_multirun(
        monkeypatch, "hidden=8,16", "tracking=none", f"output_dir={tmp_path}", f"data_dir={root / 'data'}"
    )
    assert result == 1
    (sweep_file,) = tmp_path.glob("runs/*/sweep.json")
    assert json.loads(sweep_file.read_text())["name"] == "hidden=8"
    records = [json.loads(line) for line in (sweep_file.parent / "events.jsonl").read_text().splitlines()]
    assert records[-1]["status"] == "FAILED"
    assert "ZeroDivisionError: a bug" in records[-1]["reason"]


def run_multirun(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `python -m src.train --multirun ARGUMENTS` in this process and return its exit status."""
    from hydra.core.global_hydra import GlobalHydra

    from src import train
    from src.cli.main import run_command

    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["train.py", "--multirun", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    try:
        run_command("train", "config", train.main)
    except SystemExit as result:
        return int(result.code or 0)
    return 0
