"""The store of a config's runs, in directories or in MLflow, and the directory of a run."""

from collections.abc import Callable
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from typing_extensions import override

from src.common.errors import UserError
from src.common.files import absolute
from src.common.job_result import JobResult
from src.config.schema import PathsConfig
from src.models.serialization import TrainedModel
from src.tracking import event_log
from src.tracking.directory_store import DirectoryStore
from src.tracking.run import given_uri, tracking_store
from src.tracking.run_record import RunRecord
from src.tracking.sync_state import (
    TRACKING,
    SyncState,
    add_files,
    close_stale_runs_and_sync,
    find_run,
    load_store,
)


def open_store(config: PathsConfig) -> DirectoryStore:
    """Open the store in which the runs of a config are kept.

    Args:
        config: Config that says where runs are tracked.

    Returns:
        A DirectoryStore if `tracking.enabled` is false; a ProjectStore for the project's own database; an
        MlflowStore for another one.
    """
    if not config.tracking.enabled:
        return DirectoryStore(absolute(config.output_dir))
    return mlflow_store(config) if given_uri(config) else ProjectStore(config)


def mlflow_store(config: PathsConfig) -> DirectoryStore:
    """Open the MLflow store of a config.

    Args:
        config: Config that says where runs are tracked.

    Returns:
        An MlflowStore.
    """
    from src.tracking.mlflow_store import MlflowStore  # takes 2 seconds to import

    return MlflowStore(tracking_store(config)["uri"], config.tracking.experiment, absolute(config.output_dir))


class ProjectStore(DirectoryStore):
    """The runs of the project's own database: read in their directories, where these are on this machine.

    Only what no directory answers imports MLflow: an alias, a run without a directory, the jobs of a sweep.

    Args:
        config: Config whose runs are tracked in mlflow.db of its `output_dir`.
    """

    def __init__(self, config: PathsConfig) -> None:
        super().__init__(absolute(config.output_dir), config.tracking.experiment)
        self.config, self.database = config, self.runs.parent / "mlflow.db"
        self.active = set[str]()  # ids of the runs in the database, read again for each search

    @cached_property
    def mlflow(self) -> DirectoryStore:
        """The same runs, read by MLflow."""
        return mlflow_store(self.config)

    @override
    def _id_of(self, folder: Path) -> str:
        own = (folder / TRACKING).exists() and load_store(folder)["artifacts"]
        if own != self.database.with_name("artifacts").as_uri():
            return ""
        run_id = SyncState.load(folder).run_id
        return run_id if run_id in self.active else "" if run_id else folder.name  # not uploaded yet

    @override
    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        self.active = active_runs(self.database)
        with suppress(UserError):
            run = super().find(query, key, data_digest)
            if run.status != "RUNNING":  # a resumed run: MLflow has the files of its last end
                return run
        return self.mlflow.find(query, key, data_digest)

    @override
    def finished(self) -> list[RunRecord]:
        if "mlflow" in vars(self):  # it was needed to find a run, which its list has, with aliases
            return self.mlflow.finished()
        self.active = active_runs(self.database)
        return super().finished()

    @override
    def load_model(self, run: RunRecord) -> TrainedModel:
        return super().load_model(run) if run.folder else self.mlflow.load_model(run)

    @override
    def load_config(self, run: RunRecord) -> dict[str, Any]:
        return super().load_config(run) if run.folder else self.mlflow.load_config(run)

    @override
    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        return super().load_details(run, key) if run.folder else self.mlflow.load_details(run, key)

    @override
    def save_files(self, run: RunRecord, files: dict[str, Callable[[Path], object]]) -> None:
        if run.folder is None:
            return self.mlflow.save_files(run, files)
        super().save_files(run, files)
        return add_files(run.folder, files)

    @override
    def find_job(self, digest: str) -> RunRecord | None:
        return self.mlflow.find_job(digest)

    @override
    def job_results(self, sweep: str) -> list[JobResult]:
        return self.mlflow.job_results(sweep)

    @override
    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        self.mlflow.add_to_sweep(run_id, note)


def active_runs(database: Path) -> set[str]:
    """Return the runs that MLflow has, without those that a person deleted on its pages.

    Args:
        database: MLflow's SQLite file.

    Returns:
        Their ids; empty where the file cannot be read, so that MLflow itself is asked for a run.
    """
    import sqlite3

    address = f"{database.as_uri()}?mode=ro"
    query = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as client:
        return {run_id for (run_id,) in client.execute(query)}
    return set()


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
    runs, folder = output_dir / "runs", absolute(query)
    if (folder / event_log.NAME).is_file():
        return folder
    if named := find_run(runs, query):
        return named
    expected = f"latest, a run id, the name of a directory under {runs}, or a path"
    raise UserError(f"{key}: expected {expected}, got {query}")
