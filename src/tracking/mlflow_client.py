"""Connection to an MLflow store, the one-line error for a store that does not answer, and its registry.

MLflow takes about 4 seconds to import, so modules that use it are imported when they are needed, and never by
training.
"""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS
from sqlalchemy.exc import SQLAlchemyError

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import exclusive
from src.common.files import parse_json, sqlite_file
from src.config.schema import PathsConfig
from src.tracking.description import NOTE, load_code
from src.tracking.run import tracking_store

RUN_DIR_TAG = "run_dir"  # tag of every run: the name of its directory, by which it is found again
MAX_JOBS = 5000  # maximum number of jobs of a sweep that are read
MODEL = "model"  # name of the logged model of a run
REGISTERED = "char-rnn"  # name of the registered model
CHAMPION = "champion"  # alias of its version that is in use
REGISTERED_NOTE = (
    "Networks that write text character by character. Each version is the model of a run, and the alias "
    f"{CHAMPION} is the version in use (`register=true`)."
)


class StoreUnreachable(UserError):
    """A store that does not answer, or that answers with an error."""


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow, of the database and of the system into one line that names the store.

    Args:
        uri: URI of the store, for the message.

    Yields:
        Nothing; errors of the context are converted.

    Raises:
        StoreUnreachable: An operation in the context failed.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        got = " ".join(str(error).split())[:200]
        raise StoreUnreachable(f"tracking.uri: expected a store that answers at {uri}, got {got}") from error


def connect(uri: str) -> Any:
    """Make a client of the store, which also becomes MLflow's default store.

    The first client of a database migrates it to the current schema. Processes that do this at the same time
    make each other fail, so processes that open the same file take turns; a server does this by itself.

    Args:
        uri: URI of the store: a database file (`sqlite:///...`) or the address of a server.

    Returns:
        An `mlflow.MlflowClient`.

    Raises:
        StoreUnreachable: MLflow does not know this kind of URI, or the file is not a database.
    """
    with store_errors(uri):
        mlflow.set_tracking_uri(uri)
        file = sqlite_file(uri)
        if file is None:
            return mlflow.MlflowClient(uri)
        with exclusive(file):
            return mlflow.MlflowClient(uri)


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """Make a client of the store (`connect`) and convert every error of the context (`store_errors`).

    Args:
        uri: URI of the store.

    Yields:
        An `mlflow.MlflowClient`.

    Raises:
        StoreUnreachable: The store does not answer, or an operation in the context failed.
    """
    with store_errors(uri):
        yield connect(uri)


def experiment_id(client: Any, name: str, artifacts: str) -> str:
    """Find or create an experiment; a deleted one is restored.

    Args:
        client: Client of the store.
        name: Name of the experiment.
        artifacts: URI of the folder in which a new experiment keeps its files; "" for the choice of a server,
            and for the folder `artifacts` next to an SQLite file.

    Returns:
        Id of the experiment.

    Raises:
        MlflowException: The store does not answer, or refuses the name.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        if not artifacts and (file := sqlite_file(client.tracking_uri)):
            artifacts = (file.parent / "artifacts").as_uri()
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
        run_id: Id of the run in MLflow. While the run is not uploaded, it is the name of its directory, which
            is refused.
        folder: Name of the run directory.
        config: Config that says where the run is tracked.

    Raises:
        UserError: The run is not uploaded or has no model, or the store does not answer.
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
    """Make the model of a run the champion: the version of the registered model that is in use.

    A run whose model has a version keeps it.

    Args:
        uri: URI of the store.
        run_id: Id of the run in MLflow.

    Returns:
        Number of the version.

    Raises:
        UserError: The run has no model, or the store does not answer.
    """
    with connected(uri) as client:
        known = client.search_model_versions(f"name = '{REGISTERED}' AND run_id = '{run_id}'")
        version = max((int(each.version) for each in known), default=0) or create_version(client, run_id)
        client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    return version


def create_version(client: Any, run_id: str) -> int:
    """Create a version of the registered model from the logged model of a run.

    `mlflow.register_model` does the same, but prints messages.

    Args:
        client: Client of the store.
        run_id: Id of the run; of several logged models the last one counts.

    Returns:
        Number of the new version.

    Raises:
        UserError: The run has no completely logged model.
        MlflowException: The store does not answer.
    """
    logged = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id],
        f"source_run_id = '{run_id}' AND name = '{MODEL}'",
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],  # the newest first
    )
    ready = [model for model in logged if model.status == LoggedModelStatus.READY]
    if not ready:
        raise UserError(f"register: expected a run with a logged model, got {run_id}, which has none")
    try:
        text = load_code(client.tracking_uri, f"models:/{REGISTERED}@{CHAMPION}")
        client.create_registered_model(REGISTERED, description=f"{REGISTERED_NOTE}\n\n{text}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id, note = ready[0].model_id, ready[0].tags.get(NOTE, "")
    created = client.create_model_version(REGISTERED, f"models:/{model_id}", run_id, model_id=model_id)
    registered = {"name": REGISTERED, "version": str(created.version)}
    tag = client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]")
    known = parse_json(tag, list[dict[str, str]])
    if registered not in known:  # a server has added it
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([*known, registered])})
    text = note.replace(f"runs:/{run_id}/{MODEL}", f"models:/{REGISTERED}/{created.version}")
    client.update_model_version(REGISTERED, created.version, text)
    return int(created.version)


def registered_versions(uri: str) -> dict[str, list[str]]:
    """Return the aliases under which the models of runs are registered.

    Args:
        uri: URI of the store.

    Returns:
        Run id to aliases like `char-rnn@champion`; a run without an alias is left out.

    Raises:
        StoreUnreachable: The store does not answer.
    """
    names: dict[str, list[str]] = {}
    with connected(uri) as client:
        for model in client.search_registered_models():
            for alias in model.aliases:
                version = client.get_model_version_by_alias(model.name, alias)
                names.setdefault(version.run_id, []).append(f"{model.name}@{alias}")
    return names
