"""Finished runs, found again where they are kept: in directories, or in an MLflow store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from src.common.errors import UserError
from src.common.job_result import JobResult
from src.common.paths import absolute
from src.config.schema import PathsConfig
from src.models.serialization import TrainedModel
from src.tracking import event_log
from src.tracking.directory_store import DirectoryStore
from src.tracking.mlflow_run_store import MlflowStore
from src.tracking.run import tracking_store
from src.tracking.run_record import RunRecord
from src.tracking.sync_state import TRACKING, SyncState, close_stale_runs_and_sync


class RunStore(Protocol):
    """Where finished runs are kept."""

    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        """Find the run that a person names.

        Args:
            query: `latest`, the run that finished last; `best`, the run with the lowest val/loss among those
                on one text; the name of a run's directory; in MLflow also a run id, an alias of the
                registered model, or models:/NAME@ALIAS.
            key: The config key in which it was typed, which an error names.
            data_digest: The text of `best`; "" for that of the run that finished last.

        Raises:
            UserError: There is no such run, or the store does not answer.
        """

    def finished(self) -> list[RunRecord]:
        """List the finished trainings, the one that finished last first.

        A damaged run is skipped with a line on standard error. Raises UserError when the store does not
        answer.
        """

    def load_model(self, run: RunRecord) -> TrainedModel:
        """Load the trained model. Raises UserError for a run without one, or with a damaged one."""

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        """Return the logged config. Raises UserError for a run without one, or with a damaged one."""

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        """Return the run with its files, samples and COMPARED_CURVES.

        Raises:
            UserError: One of REQUIRED is missing or damaged.
        """

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        """Add a file to the run. name: like `samples/a.txt`. write: creates the file at a path."""

    def find_job(self, digest: str) -> RunRecord | None:
        """Find a finished run of a job, which was neither pruned nor interrupted. digest: of the job."""

    def job_results(self, sweep: str) -> list[JobResult]:
        """Return the results of a sweep's jobs, in the order of their numbers. sweep: its id."""

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        """Make a finished run a job of one more sweep. note: of the job, as in sweep.json."""


def open_store(config: PathsConfig) -> RunStore:
    """Open the store in which the runs of a config are kept."""
    if not config.tracking.enabled:
        return DirectoryStore(absolute(config.output_dir))
    return MlflowStore(tracking_store(config)["uri"], config.tracking.experiment, absolute(config.output_dir))


def open_attended_store(config: PathsConfig) -> RunStore:
    """Open the store once runs whose process was killed are closed, and their sync is started."""
    close_stale_runs_and_sync(absolute(config.output_dir))
    return open_store(config)


def find_folder(query: str, output_dir: Path, key: str) -> Path:
    """Find the directory of a run, finished or not.

    Args:
        query: A path, the name of a directory under output_dir/runs, or a run id of MLflow.
        output_dir: Where the runs of this machine are.
        key: The config key that an error names.

    Raises:
        UserError: There is none.
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
