"""A short job of a sweep, and the runs of a sweep in MLflow, compared with their event logs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.outage import compare
from tests.mlflow_queries import connect

SHORT = ("max_epochs=0.02", "eval_every=10", "length=20", "workers=1", "diagnostics=false",
         "figures=false")  # fmt: skip
NewDatabase = Callable[[Path], str]


def path_overrides_of(root: Path) -> list[str]:
    return [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]


def sweep_runs(uri: str, experiment: str = "char-rnn") -> tuple[Any, list[Any]]:
    """Return the parent run of the last sweep, and its child runs in the order of the jobs."""
    client = connect(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parent = next(run for run in runs if run.data.tags["stage"] == "sweep")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    key = f"sweep.{parent.info.run_id}"
    return parent, sorted(children, key=lambda run: json.loads(run.data.tags[key])["number"])


def assert_complete(report: dict[str, Any], **expected: Any) -> None:
    """The store has every point and file of the event log once, and the expected values of the report."""
    counters = ("points_lost", "points_twice", "artifacts_lost", "artifacts_twice")
    assert {name: report[name] for name in counters if report.get(name)} == {}
    assert {name: report[name] for name in expected} == expected, report


def assert_synced(folder: Path, uri: str) -> None:
    """A run has one finished MLflow run with one model, and all its points and files."""
    assert_complete(compare(folder, uri), runs=1, models=1, run_status="FINISHED")
