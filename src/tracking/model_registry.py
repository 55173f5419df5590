"""The registered model: the run's model that `register=true` makes the champion, and how to serve it."""

import shlex
from typing import Any

from src.common.console import echo_err
from src.common.errors import UserError
from src.config.schema import PathsConfig
from src.tracking.run import tracking_store

REGISTERED = "char-rnn"  # name of the registered model
CHAMPION = "champion"  # alias of its version that is in use


def register(run_id: str, config: PathsConfig) -> None:
    """Make the run's model the champion; print how to serve it on standard error.

    Raises:
        UserError: The run has no model, or the store does not answer.
    """
    uri = tracking_store(config)["uri"]
    version = set_champion(uri, run_id)
    serve = f"mlflow models serve -m models:/{REGISTERED}@{CHAMPION} --env-manager local"
    echo_err(
        f"registered: {REGISTERED} version {version}, alias {CHAMPION}, run {run_id}\n"
        f"serve it with: MLFLOW_TRACKING_URI={shlex.quote(uri)} {serve}"
    )


def register_synced(run_id: str, folder: str, config: PathsConfig) -> None:
    """Register the model of this process's run.

    Args:
        run_id: Id in MLflow; the directory's name while the run is not uploaded, which is refused.
        folder: Name of the run's directory.
        config: Where the run is tracked.
    """
    if run_id == folder:
        raise UserError(f"register: expected an uploaded run, got {run_id}, which is not uploaded yet")
    register(run_id, config)


def set_champion(uri: str, run_id: str) -> int:
    """Make the run's model the champion; return the number of its version.

    A run that has a version already keeps it.

    Raises:
        UserError: The run has no model, or the store does not answer.
    """
    from src.tracking.mlflow_client import connect, store_errors  # slow to import

    client = connect(uri)
    with store_errors(uri):
        known = client.search_model_versions(f"name = '{REGISTERED}' AND run_id = '{run_id}'")
        version = max((int(each.version) for each in known), default=0) or create_version(client, run_id)
        client.set_registered_model_alias(REGISTERED, CHAMPION, str(version))
    return version


def create_version(client: Any, run_id: str) -> int:
    """Create a version of the run's logged model. (`mlflow.register_model` does the same, and prints.)"""
    from mlflow.entities import LoggedModelStatus  # slow to import
    from mlflow.exceptions import MlflowException

    from src.tracking.mlflow_writer import MODEL

    outputs = client.get_run(run_id).outputs
    logged = [client.get_logged_model(o.model_id) for o in (outputs.model_outputs if outputs else [])]
    ready = [each for each in logged if each.name == MODEL and each.status == LoggedModelStatus.READY]
    if not ready:
        raise UserError(f"register: expected a run with a logged model, got {run_id}, which has none")
    model_id = max(ready, key=lambda model: model.creation_timestamp).model_id  # of equal weights the last
    try:
        client.create_registered_model(REGISTERED)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(REGISTERED, f"models:/{model_id}", run_id, model_id=model_id)
    return int(created.version)


def registered_versions(uri: str) -> dict[str, list[str]]:
    """Map run ids to the aliases, like char-rnn@champion, under which their models are registered."""
    from src.tracking.mlflow_client import connect, store_errors  # slow to import

    client = connect(uri)
    names: dict[str, list[str]] = {}
    with store_errors(uri):
        for model in client.search_registered_models():
            for alias in model.aliases:
                version = client.get_model_version_by_alias(model.name, alias)
                names.setdefault(version.run_id, []).append(f"{model.name}@{alias}")
    return names
