"""Finished runs, found again where they are kept: in directories, or in an MLflow store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import absolute, read_json, write_json
from src.common.job_result import INCOMPLETE, JobResult
from src.config.schema import PathsConfig
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking import event_log
from src.tracking.run import tracking_store
from src.tracking.run_record import JOB_NOTE, RunRecord, check_details, job_result, read_job_note
from src.tracking.sync_state import TRACKING, SyncState, close_stale_runs_and_sync


class RunStore(Protocol):
    """Store of finished runs."""

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


class DirectoryStore:
    """Runs in the directories of this machine, under output_dir/runs."""

    def __init__(self, output_dir: Path) -> None:
        self.runs = output_dir / "runs"

    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        if query == "latest":
            if run := next(self._newest_first(), None):
                return run
        elif query == "best":
            runs = self.finished()
            text = data_digest or (runs[0].data_digest if runs else "")
            scored = [run for run in runs if run.data_digest == text and run.val_loss is not None]
            if scored:
                return min(scored, key=lambda run: (run.val_loss, run.start_time))
        else:
            folder = self.runs / query
            if Path(query).name == query and (folder / "scores.json").exists():
                return RunRecord.load(folder, key)
            raise UserError(
                f"{key}: expected latest, best or the name of a run under {self.runs}, got {query}"
            )
        on_text = " on the configured text" if data_digest else ""
        raise UserError(
            f"{key}: expected a finished run{on_text} under {self.runs}, got none: train one first"
        )

    def finished(self) -> list[RunRecord]:
        return list(self._newest_first())

    def _newest_first(self) -> Iterator[RunRecord]:
        scores = list(self.runs.glob("*/scores.json"))
        for file in sorted(scores, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            try:
                run = RunRecord.load(file.parent)
            except UserError as error:
                echo_err(f"skipped run {file.parent.name}: {str(error).removeprefix('run: ')}")
                continue
            if run.status == "FINISHED":
                yield run

    def load_model(self, run: RunRecord) -> TrainedModel:
        return serialization.load(self.runs / run.run_id / "model")

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        return run.config or read_json(self.runs / run.run_id / "config.json", dict[str, Any])

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        return check_details(run, key)

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        write(self.runs / run.run_id / name)

    def find_job(self, digest: str) -> RunRecord | None:
        for run in self._newest_first():
            if run.tags.get("job_digest") == digest and run.stop_reason not in INCOMPLETE:
                return run
        return None

    def job_results(self, sweep: str) -> list[JobResult]:
        rows = []
        for file in sorted([*self.runs.glob(f"*/{JOB_NOTE}"), *self.runs.glob(f"*/sweep-{sweep}.json")]):
            try:
                note = read_job_note(file)
                if note["sweep"] == sweep:
                    rows.append(job_result(file.parent, note))
            except UserError as error:
                echo_err(f"skipped run {file.parent.name}: {str(error).removeprefix('run: ')}")
        return sorted(rows, key=lambda row: row.number)

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        write_json(self.runs / run_id / f"sweep-{note['sweep']}.json", {**note, "reused": True})


def open_store(config: PathsConfig) -> RunStore:
    """Open the store in which the runs of a config are kept."""
    if not config.tracking.enabled:
        return DirectoryStore(absolute(config.output_dir))
    from src.tracking.mlflow_store import MlflowStore  # slow to import

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
