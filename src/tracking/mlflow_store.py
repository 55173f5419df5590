"""Runs in MLflow, found again: by name, with their files, as a sweep's jobs.

A sweep's parent and its jobs, in MLflow.
"""

import json
import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, ViewType
from mlflow.exceptions import MlflowException

from src.common.errors import InputError
from src.common.job_result import CUT_SHORT, GRADIENTS, Row, kept_gradient
from src.tracking.mlflow_client import DIRECTORY, connect, experiment_id, out_of_reach
from src.tracking.mlflow_writer import MODEL

REGISTERED = "char-rnn"  # name of the registered model
CHAMPION = "champion"  # alias of its version that is in use

# Error codes of MLflow for what is not there, or cannot be by its name.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")


def ensure_experiment(uri: str, name: str, artifacts: str) -> str:
    """The experiment's id, made if need be."""
    return experiment_id(connect(uri), name, artifacts)


def find(run: str, uri: str, experiment: str, key: str = "run") -> Any:
    """The MLflow run that a person means: `latest`, the run that finished last; `best`, the lowest val/loss
    (of equals the first); an alias of the registered model; models:/NAME@ALIAS; or a run id.

    key: where the name was typed. Raises InputError when there is none.
    """
    nothing = f"{key}: expected a finished run in experiment {experiment}, got none: train one first"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(nothing)  # MLflow would make the database
    client = connect(uri)
    try:
        if run not in ("latest", "best"):
            return run_of(client, run, key)
        found = client.get_experiment_by_name(experiment)
        lowest = ["metrics.`val/loss` ASC", "attributes.start_time ASC"]
        order = lowest if run == "best" else ["attributes.end_time DESC"]
        where = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
        ids = [found.experiment_id] if found else []
        runs = client.search_runs(ids, where, ViewType.ACTIVE_ONLY, 1, order) if ids else []
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    if not runs:
        raise InputError(nothing)
    return runs[0]


def run_of(client: Any, name: str, key: str = "run") -> Any:
    """The run that an id, an alias of the registered model or a models:/ address names."""
    model, alias, version = REGISTERED, name, ""
    if address := re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", name):
        model, alias, version = address[1], address[2] or "", address[3] or ""
    try:
        if not address and re.fullmatch(r"[0-9a-f]{32}", name):
            return client.get_run(name)
        if version:
            return client.get_run(client.get_model_version(model, version).run_id)
        return client.get_run(client.get_model_version_by_alias(model, alias).run_id)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise InputError(
            f"{key}: expected latest, best, an alias that {REGISTERED} has (register=true makes champion), "
            f"models:/NAME@ALIAS or a run id, got {name}"
        ) from error


def download(run: Any, uri: str, destination: Path) -> tuple[Path, dict[str, Any]]:
    """A run's model files and its config. Raises InputError for a run without them."""
    connect(uri)
    run_id = run.info.run_id
    try:
        config = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json"))
        folder = Path(
            mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{MODEL}", dst_path=str(destination))
        )
    except (MlflowException, OSError) as error:
        raise InputError(f"run: expected a run with a logged model, got {run_id}, which has none") from error
    return folder / "data" / MODEL, config


def logged(run: Any, uri: str, names: tuple[str, ...]) -> dict[str, str]:
    """Files of a run as texts, those of `names` that it has."""
    connect(uri)
    texts = {}
    try:
        there = {
            file.path for file in mlflow.artifacts.list_artifacts(run_id=run.info.run_id, tracking_uri=uri)
        }
        for name in names:
            if name in there:
                texts[name] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")
    except (MlflowException, OSError) as error:
        raise out_of_reach(uri, error) from error
    return texts


def history(run: Any, uri: str, names: tuple[str, ...]) -> dict[str, dict[int, float]]:
    """A run's metric curves: step to value."""
    client = connect(uri)
    try:
        points = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    return {name: {point.step: point.value for point in told} for name, told in points.items()}


def log_file(run_id: str, uri: str, file: Path, folder: str) -> None:
    """Keep a file with a run that has ended; one of the same name is replaced."""
    connect(uri).log_artifact(run_id, str(file), folder)


def finished(uri: str, experiment: str, most: int = 1000) -> list[Any]:
    """The MLflow runs of finished trainings, the one that finished last first."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []  # MLflow would make the database
    client = connect(uri)
    try:
        found = client.get_experiment_by_name(experiment)
        where = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
        order = ["attributes.end_time DESC"]
        ids = [found.experiment_id] if found else []
        return list(client.search_runs(ids, where, ViewType.ACTIVE_ONLY, most, order)) if ids else []
    except MlflowException as error:
        raise out_of_reach(uri, error) from error


def registered(uri: str) -> dict[str, list[str]]:
    """Run id to the aliases, like char-rnn@champion, under which its model is registered."""
    client = connect(uri)
    names: dict[str, list[str]] = {}
    try:
        for model in client.search_registered_models():
            for alias in model.aliases:
                version = client.get_model_version_by_alias(model.name, alias)
                names.setdefault(version.run_id, []).append(f"{model.name}@{alias}")
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    return names


def register(uri: str, run_id: str) -> int:
    """Make the run's model the champion of the registered model; returns the version's number.

    A run that has a version already keeps it. Raises InputError for a run without a model, and when the
    store does not answer.
    """
    client = connect(uri)
    try:
        of_the_run = f"name = '{REGISTERED}' AND run_id = '{run_id}'"
        versions = [int(known.version) for known in client.search_model_versions(of_the_run)]
        version = max(versions) if versions else new_version(client, run_id)
        client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    return version


def new_version(client: Any, run_id: str) -> int:
    """A version of the run's logged model. (`mlflow.register_model` does the same, and prints.)"""
    outputs = client.get_run(run_id).outputs
    logged = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else [])]
    whole = [model for model in logged if model.name == MODEL and model.status == LoggedModelStatus.READY]
    if not whole:
        raise InputError(f"register: expected a run with a logged model, got {run_id}, which has none")
    model_id = max(whole, key=lambda model: model.creation_timestamp).model_id  # told again: the same weights
    try:
        client.create_registered_model(REGISTERED)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(REGISTERED, f"models:/{model_id}", run_id, model_id=model_id)
    return int(made.version)


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
    if run.data.params.get("diagnostics") != "True" or run.info.status != "FINISHED":
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
