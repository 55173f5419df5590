"""Connection to an MLflow store, and the one-line error for a store that does not answer.

MLflow takes some 4 seconds to import, so modules that use it are imported when they are needed, and never by
training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from src.common.errors import UserError
from src.common.file_lock import exclusive

SQLITE = "sqlite:///"
RUN_DIR_TAG = "run_dir"  # tag of every run: the name of its directory, by which it is found again


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
