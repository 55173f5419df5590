"""Runs in MLflow, found again: by name, with their files, as a sweep's jobs."""

import src.lab.mlflow_settings  # noqa: F401  isort: skip  (before MLflow reads them)
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from src.errors import InputError
from src.lab.mlflow_client import connect, experiment_id, out_of_reach
from src.lab.tracking import MODEL


def ensure_experiment(uri: str, name: str, artifacts: str) -> str:
    """The experiment's id, made if need be."""
    return experiment_id(connect(uri), name, artifacts)


def find(run: str, uri: str, experiment: str) -> Any:
    """The MLflow run that `latest`, `best` or a run id means. Raises InputError when there is none."""
    nothing = f"run: expected a finished run in experiment {experiment}, got none: train one first"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(nothing)  # MLflow would make the database
    client = connect(uri)
    if run not in ("latest", "best"):
        try:
            return client.get_run(run)
        except MlflowException as error:
            raise InputError(f"run: expected latest, best or the id of a run, got {run}") from error
    try:
        found = client.get_experiment_by_name(experiment)
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    order = "metrics.`val/loss` ASC" if run == "best" else "attributes.start_time DESC"
    where = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
    runs = client.search_runs([found.experiment_id], where, ViewType.ACTIVE_ONLY, 1, [order]) if found else []
    if not runs:
        raise InputError(nothing)
    return runs[0]


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


def log_file(run_id: str, uri: str, file: Path, folder: str) -> None:
    """Keep a file with a run that has ended; one of the same name is replaced."""
    connect(uri).log_artifact(run_id, str(file), folder)
