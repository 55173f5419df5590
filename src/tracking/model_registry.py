"""The registered model: the run's model that `register=true` makes the champion, and how to serve it."""

import shlex

from src.common.console import echo_err
from src.common.errors import UserError
from src.config.schema import PathsConfig
from src.tracking.run import tracking_store


def register(run_id: str, config: PathsConfig) -> None:
    """Register the run's model as champion; says so, and how to serve it, on standard error.

    Raises UserError for a run without a model, and when the store does not answer.
    """
    from src.tracking import mlflow_store  # slow to import

    uri = tracking_store(config)["uri"]
    version = mlflow_store.register(uri, run_id)
    name, alias = mlflow_store.REGISTERED, mlflow_store.CHAMPION
    serve = f"mlflow models serve -m models:/{name}@{alias} --env-manager local"
    echo_err(
        f"registered: {name} version {version}, alias {alias}, run {run_id}\n"
        f"serve it: MLFLOW_TRACKING_URI={shlex.quote(uri)} {serve}"
    )


def register_synced(run_id: str, folder: str, config: PathsConfig) -> None:
    """The same for the run of this very process. folder: the name of its directory, which is its id, too, as
    long as the tracker has not been reached."""
    if run_id == folder:
        raise UserError(f"register: expected a tracker that was reached, got run {run_id}, not delivered yet")
    register(run_id, config)
