"""A sweep's parent and its jobs, in MLflow."""

import json
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from src.lab.runs.rows import CUT_SHORT, GRADIENTS, Row, kept_gradient
from src.lab.tracking.mlflow_client import DIRECTORY, connect, experiment_id, out_of_reach

CURVES = ("train/loss", "val/loss")
MOST = 5000  # jobs of a sweep that are looked at


def create_parent(uri: str, experiment: str, artifacts: str, name: str, tags: dict[str, str]) -> str:
    """A run that is nobody's active run; its id. Raises InputError when the store does not answer."""
    try:
        client = connect(uri)
        run = client.create_run(experiment_id(client, experiment, artifacts), tags=tags, run_name=name[:250])
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    return str(run.info.run_id)


def rows(uri: str, experiment: str, parent: str) -> list[Row]:
    """A row for each run that carries the sweep's tag."""
    client = connect(uri)
    tag = f"sweep.{parent}"
    where = f"tags.`{tag}` != ''"
    found = client.search_runs(
        [experiment_id(client, experiment, "")], where, ViewType.ACTIVE_ONLY, MOST, ["attributes.start_time"]
    )
    return sorted((row(client, run, parent) for run in found), key=lambda r: r.number)


def row(client: Any, run: Any, parent: str) -> Row:
    """A job's row from its MLflow run."""
    tags, run_id = run.data.tags, run.info.run_id
    job = json.loads(tags[f"sweep.{parent}"])
    ended = run.info.end_time or run.info.start_time
    curves = {
        name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)]
        for name in CURVES
        if name in run.data.metrics
    }
    return Row(
        name=job["name"],
        number=job["number"],
        swept=job["swept"],
        run_id=run_id,
        status=run.info.status,
        reason=tags.get("ended", ""),
        reused=tags.get("mlflow.parentRunId") != parent,
        seconds=(ended - run.info.start_time) / 1000,
        metrics=dict(run.data.metrics),
        curves={name: sorted(points) for name, points in curves.items()},
        samples=samples_of(run),
        gradient=gradient_of(run, curves.get("val/loss", [])),
        directory=tags.get(DIRECTORY, ""),
    )


def samples_of(run: Any) -> list[dict[str, Any]]:
    """The rows of the run's table of samples; none where it has none."""
    if "mlflow.loggedArtifacts" not in run.data.tags:
        return []
    try:
        table = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/samples.json"))
    except (MlflowException, OSError):
        return []
    return [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]


def gradient_of(run: Any, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """How far the gradient of the kept weights reaches; none where the run was not probed."""
    if run.data.params.get("probe") != "True" or run.info.status != "FINISHED":
        return []
    try:
        told = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{GRADIENTS}")
    except (MlflowException, OSError):
        return []
    return kept_gradient(told, sorted(val))


def find_finished(uri: str, experiment: str, digest: str) -> tuple[str, dict[str, float]] | None:
    """The id and the metrics of the latest FINISHED run of a job, by its digest."""
    client = connect(uri)
    where = f"attributes.status = 'FINISHED' AND tags.job_digest = '{digest}'"
    where += "".join(f" AND tags.ended != '{reason}'" for reason in CUT_SHORT)
    order = ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id(client, experiment, "")], where, ViewType.ACTIVE_ONLY, 1, order)
    return (found[0].info.run_id, dict(found[0].data.metrics)) if found else None


def adopt(uri: str, run_id: str, tag: str, value: str) -> None:
    """Mark a run as a member of a sweep beside the one it was trained for."""
    connect(uri).set_tag(run_id, tag, value)


def close_parent(
    uri: str, parent: str, status: str, metrics: dict[str, float], tags: dict[str, str], files: list[Any]
) -> None:
    """What the sweep came to, with the parent. files: local files to keep with it."""
    client = connect(uri)
    for file in files:
        client.log_artifact(parent, str(file))
    for name, value in metrics.items():
        client.log_metric(parent, name, value)
    for name, text in tags.items():
        client.set_tag(parent, name, text)
    client.set_terminated(parent, status)
