"""The way into MLflow: settings that must stand before it is imported, and what all of its users need.

MLflow takes some 4 seconds to import, so the modules that use it are imported when they are needed, and by
training never.
"""

import os
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # usage reporting: only if the user turns it on
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # not how it makes its tables
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the journal keeps what did not arrive

import mlflow
from mlflow.exceptions import MlflowException

from src.errors import InputError


def connect(uri: str) -> Any:
    """A client of the store at `uri`, which becomes MLflow's own default, too."""
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


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
