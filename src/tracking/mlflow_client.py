"""The way into MLflow: what all of its users need.

MLflow takes some 4 seconds to import, so the modules that use it are imported when they are needed, and by
training never.
"""

from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from src.common.errors import InputError
from src.common.file_lock import exclusive

FILE = "sqlite:///"
DIRECTORY = "run_dir"  # tag of every run: the name of its directory, by which it is found again


def connect(uri: str) -> Any:
    """A client of the store at `uri`, which becomes MLflow's own default, too.

    The first of its clients brings a database up to date; processes that do that at once fail each other,
    so of those that open the same file each waits for the one before. (A server does it for itself.)
    Raises InputError for an address of no kind that MLflow knows, and for a file that is no database.
    """
    try:
        mlflow.set_tracking_uri(uri)
        if not uri.startswith(FILE):
            return mlflow.MlflowClient(uri)
        with exclusive(Path(uri.removeprefix(FILE))):
            return mlflow.MlflowClient(uri)
    except (MlflowException, SQLAlchemyError) as error:
        raise out_of_reach(uri, error) from error


def experiment_id(client: Any, name: str, artifacts: str) -> str:
    """The experiment of that name, made if need be; another process may make it at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts or None))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def out_of_reach(uri: str, error: Exception) -> InputError:
    """The one line for a store that does not answer."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"tracking.uri: expected a store that answers at {uri}, got {reason}")
