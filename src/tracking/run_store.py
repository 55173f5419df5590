"""The store of a config's runs, in directories or in MLflow, and the directory of a run."""

from pathlib import Path

from src.common.errors import UserError
from src.common.files import absolute
from src.config.schema import PathsConfig
from src.tracking import event_log
from src.tracking.directory_store import DirectoryStore
from src.tracking.run import tracking_store
from src.tracking.sync_state import TRACKING, SyncState, close_stale_runs_and_sync


def open_store(config: PathsConfig) -> DirectoryStore:
    """Open the store in which the runs of a config are kept.

    Args:
        config: Config that says where runs are tracked.

    Returns:
        A DirectoryStore if `tracking.enabled` is false, else an MlflowStore.
    """
    if not config.tracking.enabled:
        return DirectoryStore(absolute(config.output_dir))
    from src.tracking.mlflow_store import MlflowStore  # slow to import

    return MlflowStore(tracking_store(config)["uri"], config.tracking.experiment, absolute(config.output_dir))


def open_attended_store(config: PathsConfig) -> DirectoryStore:
    """Open the store after runs whose process was killed are closed and their sync is started.

    Args:
        config: Config that says where runs are tracked.

    Returns:
        The store (`open_store`).
    """
    close_stale_runs_and_sync(absolute(config.output_dir))
    return open_store(config)


def find_folder(query: str, output_dir: Path, key: str) -> Path:
    """Find the directory of a run, finished or not.

    Args:
        query: A path, the name of a directory under output_dir/runs, or a run id of MLflow.
        output_dir: Absolute path of the folder with the runs of this machine.
        key: Config key that an error names.

    Returns:
        The run directory.

    Raises:
        UserError: There is no such run on this machine.
    """
    runs = output_dir / "runs"
    for folder in (absolute(query), runs / query):
        if (folder / event_log.NAME).is_file():
            return folder
    for folder in (file.parent for file in runs.glob(f"*/{TRACKING}")):
        if SyncState.load(folder).run_id == query:
            return folder
    expected = f"latest, a run id, the name of a directory under {runs}, or a path"
    raise UserError(f"{key}: expected {expected}, got {query}")
