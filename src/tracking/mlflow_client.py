"""Connection to an MLflow store, the one-line error for a store that does not answer, and its registry.

MLflow takes some 4 seconds to import, so modules that use it are imported when they are needed, and never by
training.
"""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import exclusive
from src.config.schema import PathsConfig
from src.tracking.run import tracking_store

SQLITE = "sqlite:///"
RUN_DIR_TAG = "run_dir"  # tag of every run: the name of its directory, by which it is found again
MAX_JOBS = 5000  # jobs of a sweep that are read
MODEL = "model"  # name of the logged model of a run
REGISTERED = "char-rnn"  # name of the registered model
CHAMPION = "champion"  # alias of its version that is in use


class StoreUnreachable(UserError):
    """The store does not answer, or answers with an error."""


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn MLflow's, the database's and the system's errors into one line that names the store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreUnreachable(
            f"tracking.uri: expected a store that answers at {uri}, got {reason}"
        ) from error


def connect(uri: str) -> Any:
    """Make a client of the store, which becomes MLflow's default, too.

    The first client of a database brings it up to date. Processes that do so at once fail each other, so
    those that open the same file take turns; a server does it by itself.

    Raises:
        StoreUnreachable: The address is of no kind that MLflow knows, or the file is no database.
    """
    with store_errors(uri):
        mlflow.set_tracking_uri(uri)
        if not uri.startswith(SQLITE):
            return mlflow.MlflowClient(uri)
        with exclusive(Path(uri.removeprefix(SQLITE))):
            return mlflow.MlflowClient(uri)


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """Make a client of the store (see `connect`); any error in the context is one line (`store_errors`)."""
    with store_errors(uri):
        yield connect(uri)


def experiment_id(client: Any, name: str, artifacts: str) -> str:
    """Find or create an experiment; artifacts: where a new one keeps its files ("": the store's choice)."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts or None))
        except MlflowException:  # another process created it at the same moment
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def register(run_id: str, folder: str, config: PathsConfig) -> None:
    """Make the model of this process's run the champion; print how to serve it on standard error.

    Args:
        run_id: Id in MLflow; the directory's name while the run is not uploaded, which is refused.
        folder: Name of the run's directory.
        config: Where the run is tracked.

    Raises:
        UserError: The run has no model, or the store does not answer.
    """
    if run_id == folder:
        raise UserError(f"register: expected an uploaded run, got {run_id}, which is not uploaded yet")
    uri = tracking_store(config)["uri"]
    version = set_champion(uri, run_id)
    serve = f"mlflow models serve -m models:/{REGISTERED}@{CHAMPION} --env-manager local"
    echo_err(
        f"registered: {REGISTERED} version {version}, alias {CHAMPION}, run {run_id}\n"
        f"serve it with: MLFLOW_TRACKING_URI={shlex.quote(uri)} {serve}"
    )


def set_champion(uri: str, run_id: str) -> int:
    """Make the run's model the champion; return the number of its version.

    A run that has a version already keeps it.

    Raises:
        UserError: The run has no model, or the store does not answer.
    """
    with connected(uri) as client:
        known = client.search_model_versions(f"name = '{REGISTERED}' AND run_id = '{run_id}'")
        version = max((int(each.version) for each in known), default=0) or create_version(client, run_id)
        client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    return version


def create_version(client: Any, run_id: str) -> int:
    """Create a version of the run's logged model. (`mlflow.register_model` does the same, and prints.)"""
    logged = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id],
        f"source_run_id = '{run_id}' AND name = '{MODEL}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],  # of equal weights the last
    )
    ready = [model for model in logged if model.status == LoggedModelStatus.READY]
    if not ready:
        raise UserError(f"register: expected a run with a logged model, got {run_id}, which has none")
    try:
        client.create_registered_model(REGISTERED)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = ready[0].model_id
    created = client.create_model_version(REGISTERED, f"models:/{model_id}", run_id, model_id=model_id)
    return int(created.version)


def registered_versions(uri: str) -> dict[str, list[str]]:
    """Map run ids to the aliases, like char-rnn@champion, under which their models are registered."""
    names: dict[str, list[str]] = {}
    with connected(uri) as client:
        for model in client.search_registered_models():
            for alias in model.aliases:
                version = client.get_model_version_by_alias(model.name, alias)
                names.setdefault(version.run_id, []).append(f"{model.name}@{alias}")
    return names
