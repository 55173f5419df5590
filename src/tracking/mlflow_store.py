"""Runs in MLflow, found again: by name, with their files, as a sweep's jobs.

A sweep's parent and its jobs, in MLflow.
"""

import re
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, ViewType
from mlflow.exceptions import MlflowException

from src.common.errors import UserError
from src.common.job_result import GRADIENTS, INCOMPLETE, Curves, GradientFile, JobResult, best_gradient_norms
from src.common.json_file import parse_json
from src.tracking.formats import JobNote, SampleTable
from src.tracking.mlflow_client import RUN_DIR_TAG, connect, experiment_id, store_errors
from src.tracking.mlflow_writer import MODEL

REGISTERED = "char-rnn"  # name of the registered model
CHAMPION = "champion"  # alias of its version that is in use

FINISHED = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
NEWEST_FIRST = ["attributes.end_time DESC"]

# Error codes of MLflow for what is not there, or cannot be by its name.
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")


def ensure_experiment(uri: str, name: str, artifacts: str) -> str:
    """The experiment's id, made if need be."""
    return experiment_id(connect(uri), name, artifacts)


def find(run: str, uri: str, experiment: str, key: str = "run", data_digest: str = "") -> Any:
    """Find the MLflow run that a person names, as `RunStore.find` describes it. Of equal losses the first
    run is the best.

    Raises:
        UserError: There is none.
    """
    on_text = " on the configured text" if data_digest else ""
    nothing = f"{key}: expected a finished run{on_text} in experiment {experiment}, got none: train one first"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(nothing)  # MLflow would make the database
    client = connect(uri)
    with store_errors(uri):
        if run not in ("latest", "best"):
            return get_run(client, run, key)
        found = client.get_experiment_by_name(experiment)
        ids = [found.experiment_id] if found else []
        runs = client.search_runs(ids, FINISHED, ViewType.ACTIVE_ONLY, 1, NEWEST_FIRST) if ids else []
        if run == "best" and runs:
            digest = data_digest or runs[0].data.tags.get("data_digest", "")
            where = f"{FINISHED} AND tags.data_digest = '{digest}'" if digest else FINISHED
            order = ["metrics.`val/loss` ASC", "attributes.start_time ASC"]
            runs = client.search_runs(ids, where, ViewType.ACTIVE_ONLY, 1, order)
    if not runs:
        raise UserError(nothing)
    return runs[0]


def get_run(client: Any, name: str, key: str = "run") -> Any:
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
        if error.error_code not in NOT_FOUND_CODES:
            raise
        raise UserError(
            f"{key}: expected latest, best, an alias that {REGISTERED} has (register=true makes champion), "
            f"models:/NAME@ALIAS or a run id, got {name}"
        ) from error


def download(run_id: str, uri: str, destination: Path) -> Path:
    """Download a run's model files. Raises UserError for a run without them."""
    connect(uri)
    try:
        folder = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{MODEL}", dst_path=str(destination))
    except (MlflowException, OSError) as error:
        raise UserError(f"run: expected a run with a logged model, got {run_id}, which has none") from error
    return Path(folder) / "data" / MODEL


def logged_texts(run_id: str, uri: str, names: tuple[str, ...]) -> dict[str, str]:
    """Files of a run as texts, those of `names` that it has."""
    client = connect(uri)
    texts = {}
    with store_errors(uri):
        location = client.get_run(run_id).info.artifact_uri
        there = {file.path for file in client.list_artifacts(run_id)}
        for name in names:
            if name in there:
                texts[name] = mlflow.artifacts.load_text(f"{location}/{name}")
    return texts


def history(run_id: str, uri: str, names: tuple[str, ...]) -> Curves:
    """A run's metric curves."""
    client = connect(uri)
    with store_errors(uri):
        points = {name: client.get_metric_history(run_id, name) for name in names}
    return {name: [(point.step, point.value) for point in curve] for name, curve in points.items()}


def log_file(run_id: str, uri: str, file: Path, folder: str) -> None:
    """Keep a file with a run that has ended; one of the same name is replaced."""
    connect(uri).log_artifact(run_id, str(file), folder)


def finished_runs(uri: str, experiment: str, most: int = 1000) -> list[Any]:
    """The MLflow runs of finished trainings, the one that finished last first."""
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return []  # MLflow would make the database
    client = connect(uri)
    with store_errors(uri):
        found = client.get_experiment_by_name(experiment)
        ids = [found.experiment_id] if found else []
        return (
            list(client.search_runs(ids, FINISHED, ViewType.ACTIVE_ONLY, most, NEWEST_FIRST)) if ids else []
        )


def registered_versions(uri: str) -> dict[str, list[str]]:
    """Run id to the aliases, like char-rnn@champion, under which its model is registered."""
    client = connect(uri)
    names: dict[str, list[str]] = {}
    with store_errors(uri):
        for model in client.search_registered_models():
            for alias in model.aliases:
                version = client.get_model_version_by_alias(model.name, alias)
                names.setdefault(version.run_id, []).append(f"{model.name}@{alias}")
    return names


def register(uri: str, run_id: str) -> int:
    """Make the run's model the champion of the registered model; returns the version's number.

    A run that has a version already keeps it. Raises UserError for a run without a model, and when the
    store does not answer.
    """
    client = connect(uri)
    with store_errors(uri):
        of_the_run = f"name = '{REGISTERED}' AND run_id = '{run_id}'"
        versions = [int(known.version) for known in client.search_model_versions(of_the_run)]
        version = max(versions) if versions else new_version(client, run_id)
        client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    return version


def new_version(client: Any, run_id: str) -> int:
    """A version of the run's logged model. (`mlflow.register_model` does the same, and prints.)"""
    outputs = client.get_run(run_id).outputs
    logged = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else [])]
    whole = [model for model in logged if model.name == MODEL and model.status == LoggedModelStatus.READY]
    if not whole:
        raise UserError(f"register: expected a run with a logged model, got {run_id}, which has none")
    model_id = max(whole, key=lambda model: model.creation_timestamp).model_id  # told again: the same weights
    try:
        client.create_registered_model(REGISTERED)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(REGISTERED, f"models:/{model_id}", run_id, model_id=model_id)
    return int(made.version)


CURVES = ("train/loss", "val/loss")
MAX_HISTORY = 5000  # jobs of a sweep that are looked at


def create_parent(uri: str, experiment: str, artifacts: str, name: str, tags: dict[str, str]) -> str:
    """A run that is nobody's active run; its id. Raises UserError when the store does not answer."""
    with store_errors(uri):
        client = connect(uri)
        run = client.create_run(experiment_id(client, experiment, artifacts), tags=tags, run_name=name[:250])
    return str(run.info.run_id)


def sweep_results(uri: str, experiment: str, parent: str) -> list[JobResult]:
    """A row for each run that carries the sweep's tag."""
    client = connect(uri)
    tag = f"sweep.{parent}"
    where = f"tags.`{tag}` != ''"
    found = client.search_runs(
        [experiment_id(client, experiment, "")],
        where,
        ViewType.ACTIVE_ONLY,
        MAX_HISTORY,
        ["attributes.start_time"],
    )
    return sorted((job_result(client, run, parent) for run in found), key=lambda r: r.number)


def job_result(client: Any, run: Any, parent: str) -> JobResult:
    """A job's row from its MLflow run."""
    tags, run_id = run.data.tags, run.info.run_id
    job = parse_json(tags[f"sweep.{parent}"], JobNote)
    ended = run.info.end_time or run.info.start_time
    curves = {
        name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)]
        for name in CURVES
        if name in run.data.metrics
    }
    return JobResult(
        name=job["name"],
        number=job["number"],
        swept=job["swept"],
        run_id=run_id,
        status=run.info.status,
        reason=tags.get("stop_reason", ""),
        reused=tags.get("mlflow.parentRunId") != parent,
        seconds=(ended - run.info.start_time) / 1000,
        metrics=dict(run.data.metrics),
        curves={name: sorted(points) for name, points in curves.items()},
        samples=load_samples(run),
        gradient=load_gradient_norms(run, curves.get("val/loss", [])),
        directory=tags.get(RUN_DIR_TAG, ""),
    )


def load_samples(run: Any) -> list[dict[str, Any]]:
    """The rows of the run's table of samples; none where it has none."""
    if "mlflow.loggedArtifacts" not in run.data.tags:
        return []
    try:
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/samples.json")
        table = parse_json(text, SampleTable)
    except (MlflowException, OSError):
        return []
    return [dict(zip(table["columns"], values, strict=True)) for values in table["data"]]


def load_gradient_norms(run: Any, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """How far the gradient of the kept weights reaches; none where the run was not probed."""
    if run.data.params.get("diagnostics") != "True" or run.info.status != "FINISHED":
        return []
    try:
        told = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{GRADIENTS}")
    except (MlflowException, OSError):
        return []
    return best_gradient_norms(parse_json(told, GradientFile), sorted(val))


def find_job(uri: str, experiment: str, digest: str) -> Any | None:
    """The latest FINISHED run of a job, by its digest."""
    client = connect(uri)
    where = f"attributes.status = 'FINISHED' AND tags.job_digest = '{digest}'"
    where += "".join(f" AND tags.stop_reason != '{reason}'" for reason in INCOMPLETE)
    order = ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id(client, experiment, "")], where, ViewType.ACTIVE_ONLY, 1, order)
    return found[0] if found else None


def tag_as_member(uri: str, run_id: str, tag: str, value: str) -> None:
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
