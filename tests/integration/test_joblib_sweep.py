"""A sweep over four joblib processes in a new database; two run a second job, one job fails."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_command
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = [ignore_mlflow_warnings, pytest.mark.slow]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "diagnostics=false", "figures=false")
PROCESSES = 4
HIDDEN = [8, 0, 12, 8, 8, 12]  # job order; hidden=0 fails


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joblib")


@pytest.fixture(scope="module")
def sweep_result(root: Path) -> Any:
    state_dir = root / "probe"
    state_dir.mkdir()
    return run_command(
        "src.train",
        "--multirun",
        "hydra/launcher=joblib",
        f"hydra.launcher.n_jobs={PROCESSES}",
        f"hidden={','.join(map(str, HIDDEN))}",
        *SMALL,
        f"output_dir={root / 'outputs'}",
        f"data_dir={root / 'data'}",
        "+hydra.callbacks.state._target_=tests.job_state_callback.JobStateCallback",
        f"+hydra.callbacks.state.folder={state_dir}",
        f"+hydra.callbacks.state.num_processes={PROCESSES}",
    )


@pytest.fixture(scope="module")
def client(root: Path, sweep_result: Any) -> Any:
    return connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    return list(client.search_runs([experiment]))


@pytest.fixture(scope="module")
def parent(runs: list[Any]) -> Any:
    (run,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    return run


@pytest.fixture(scope="module")
def children(runs: list[Any], parent: Any) -> list[Any]:
    """Child runs by job number."""
    key = f"sweep.{parent.info.run_id}"
    jobs = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return sorted(jobs, key=lambda run: json.loads(run.data.tags[key])["number"])


def test_joblib_sweep_reports_failed_job(sweep_result: Any, parent: Any) -> None:
    assert sweep_result.rc == 1  # one job failed
    assert "Traceback" not in sweep_result.err
    assert "Warning" not in sweep_result.err
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in sweep_result.err
    assert parent.data.metrics["sweep/jobs"] == len(HIDDEN)
    assert parent.data.metrics["sweep/failed"] == 1


def test_every_job_is_child_run(children: list[Any]) -> None:
    """Four processes use a database that the parent process created."""
    assert [child.data.params["hidden"] for child in children] == [str(h) for h in HIDDEN]
    assert [child.info.status for child in children] == ["FINISHED" if h else "FAILED" for h in HIDDEN]


def test_every_point_of_every_job_is_synced(root: Path, client: Any, children: list[Any]) -> None:
    logged = {
        json.loads(file.read_text())["run_id"]: logged_points(file.parent)
        for file in root.glob("outputs/runs/*/sync_state.json")
    }
    assert logged.keys() == {child.info.run_id for child in children}
    for child in children:
        names = sorted({name for name, *_ in logged[child.info.run_id]})
        synced = [
            (name, m.step, m.value)
            for name in names
            for m in client.get_metric_history(child.info.run_id, name)
        ]
        assert sorted(synced) == sorted(logged[child.info.run_id])
        assert bool(synced) == (child.info.status == "FINISHED")


def logged_points(folder: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    metrics = [record for record in records if record["kind"] == "metrics"]
    return [(name, r["step"], value) for r in metrics for name, value in r["values"].items()]


@pytest.fixture(scope="module")
def states(root: Path, sweep_result: Any) -> dict[int, list[dict[str, Any]]]:
    """States of each process before each of its jobs."""
    by_process: dict[int, list[dict[str, Any]]] = {}
    for file in sorted((root / "probe").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        logged = json.loads(file.read_text())
        by_process.setdefault(logged["pid"], []).append(logged)
    return by_process


def test_job_state_does_not_leak(states: dict[int, list[dict[str, Any]]]) -> None:
    assert sum(len(logged) for logged in states.values()) == len(HIDDEN)
    assert len(states) == PROCESSES  # so some process trained two jobs
    for first, *others in states.values():
        assert first["mlflow_imported"] is False
        assert first["children"] == []
        assert first["files"] == []
        for later in others:
            for name in first.keys() - {"job"}:
                assert later[name] == first[name], f"{name} in front of job {later['job']}"


def test_job_result_does_not_depend_on_previous_job(
    root: Path, sweep_result: Any, children: list[Any]
) -> None:
    digests: dict[str, set[str]] = {}
    for file in root.glob("outputs/runs/*/scores.json"):
        hidden = str(json.loads((file.parent / "config.json").read_text())["hidden"])
        digests.setdefault(hidden, set()).add(json.loads(file.read_text())["weights_sha256"])
    assert digests.keys() == {"8", "12"}
    assert [len(values) for values in digests.values()] == [1, 1]


def test_launcher_output_is_hidden(sweep_result: Any) -> None:
    output = sweep_result.out + sweep_result.err
    assert "Joblib" not in output
    assert "loky" not in output
    assert not re.search(r"\[Parallel", output)
    assert str(sys.prefix) not in output
