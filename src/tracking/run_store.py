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
                on one text; the name of a run directory; in MLflow also a run id, an alias of the registered
                model, or models:/NAME@ALIAS.
            key: Config key that an error names.
            data_digest: Digest of the corpus for `best`; "" (the default) for that of the run that finished
                last.

        Returns:
            The record of the run; `load_details` adds what the record of a store lacks.

        Raises:
            UserError: There is no such run, or the store does not answer.
        """

    def finished(self) -> list[RunRecord]:
        """List the finished trainings, the one that finished last first.

        A damaged run is skipped with a line on standard error.

        Returns:
            The records of the runs.

        Raises:
            UserError: The store does not answer.
        """

    def load_model(self, run: RunRecord) -> TrainedModel:
        """Load the trained model of a run.

        Args:
            run: A record of this store.

        Returns:
            The network with its vocabulary.

        Raises:
            UserError: The run has no model, or a damaged one.
        """

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        """Load the logged config of a run.

        Args:
            run: A record of this store.

        Returns:
            The config as nested dictionaries, not validated.

        Raises:
            UserError: The run has no config, or a damaged one.
        """

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        """Load the files, samples and curves (COMPARED_CURVES) of a run.

        Args:
            run: A record of this store.
            key: Config key that an error names.

        Returns:
            The record with config, environment, scores, samples and curves.

        Raises:
            UserError: One of REQUIRED is missing or damaged.
        """

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        """Add a file to a run; it replaces an earlier one.

        Args:
            run: A record of this store.
            name: Path relative to the run directory, like `samples/a.txt`.
            write: Function that creates the file at the path that it receives.
        """

    def find_job(self, digest: str) -> RunRecord | None:
        """Find a finished run of a job, neither pruned nor interrupted.

        Args:
            digest: Digest of the job (`src.tracking.environment.job_digest`).

        Returns:
            The record of the newest such run; None where there is none.
        """

    def job_results(self, sweep: str) -> list[JobResult]:
        """Return the results of the jobs of a sweep.

        Args:
            sweep: Id of the sweep.

        Returns:
            One result per job, by number.
        """

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        """Make a finished run a job of one more sweep.

        Args:
            run_id: Id of the run in this store.
            note: Note of the job, as in sweep.json.
        """


class DirectoryStore:
    """Runs in the directories of this machine, under output_dir/runs; a RunStore.

    Args:
        output_dir: Absolute path of the folder with all outputs.
    """

    def __init__(self, output_dir: Path) -> None:
        self.runs = output_dir / "runs"

    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        """Find the run that a person names.

        Args:
            query: `latest`, `best` or the name of a run directory.
            key: Config key that an error names.
            data_digest: Digest of the corpus for `best`; "" for that of the run that finished last.

        Returns:
            The record with its files, samples and curves. Of equal losses the run that started first is the
            best.

        Raises:
            UserError: There is no such run, or a file of it is damaged.
        """
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
        """List the finished trainings, by the time of their scores.json, the newest first.

        Returns:
            Records with files, samples and curves; a damaged run is skipped with a line on standard error.
        """
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
        """Load the trained model in a run directory.

        Args:
            run: A record of this store.

        Returns:
            The network with its vocabulary.

        Raises:
            UserError: The run has no model, or a damaged one.
        """
        return serialization.load(self.runs / run.run_id / "model")

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        """Return the config of a run, read from config.json if the record lacks it.

        Args:
            run: A record of this store.

        Returns:
            The config as nested dictionaries, not validated.

        Raises:
            UserError: The run has no config.json, or a damaged one.
        """
        return run.config or read_json(self.runs / run.run_id / "config.json", dict[str, Any])

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        """Return a run that has all of its files; records of this store have them already.

        Args:
            run: A record of this store.
            key: Config key that an error names.

        Returns:
            The same record.

        Raises:
            UserError: One of REQUIRED is missing.
        """
        return check_details(run, key)

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        """Add a file to the run directory; it replaces an earlier one.

        Args:
            run: A record of this store.
            name: Path relative to the run directory, like `samples/a.txt`.
            write: Function that creates the file at the path that it receives.
        """
        write(self.runs / run.run_id / name)

    def find_job(self, digest: str) -> RunRecord | None:
        """Find a finished run of a job, neither pruned nor interrupted.

        Args:
            digest: Digest of the job (`src.tracking.environment.job_digest`).

        Returns:
            The record of the run that finished last; None where there is none.
        """
        for run in self._newest_first():
            if run.tags.get("job_digest") == digest and run.stop_reason not in INCOMPLETE:
                return run
        return None

    def job_results(self, sweep: str) -> list[JobResult]:
        """Return the results of the jobs of a sweep, with a line on standard error for each damaged run.

        Args:
            sweep: Id of the sweep.

        Returns:
            One result per job that can be read, by number.
        """
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
        """Make a finished run a job of one more sweep, by a file sweep-ID.json.

        Args:
            run_id: Name of the run directory.
            note: Note of the job, as in sweep.json.

        Raises:
            UserError: The file cannot be written.
        """
        write_json(self.runs / run_id / f"sweep-{note['sweep']}.json", {**note, "reused": True})


def open_store(config: PathsConfig) -> RunStore:
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


def open_attended_store(config: PathsConfig) -> RunStore:
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
