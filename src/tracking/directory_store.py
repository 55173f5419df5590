"""The runs of this machine, found again in their directories."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import read_json, write_json
from src.common.job_result import INCOMPLETE, JobResult
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking.run_record import JOB_NOTE, JobNote, RunRecord, check_details, job_result
from src.tracking.sync_state import find_run


class DirectoryStore:
    """Store of runs, in the directories of this machine; `MlflowStore` overrides its methods.

    Every record has its files, samples and curves. A damaged run is skipped with a line on standard error.

    Args:
        output_dir: Absolute path of the folder with all outputs.
        experiment: Name of the experiment in which `latest`, `best` and `finished` search; "" (the default)
            for all.
    """

    def __init__(self, output_dir: Path, experiment: str = "") -> None:
        self.runs, self.experiment = output_dir / "runs", experiment

    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        """Find the run that a person names.

        Args:
            query: `latest`, the run that finished last; `best`, the run with the lowest val/loss on one text
                (of equal losses the first); the name of a run directory, or its run id in MLflow; in MLflow
                also an alias of the registered model, or models:/NAME@ALIAS.
            key: Config key that an error names.
            data_digest: Digest of the corpus for `best`; "" for that of the run that finished last.

        Returns:
            The record of the run; `load_details` adds what the record of a store lacks.

        Raises:
            UserError: There is no such run, it is damaged or not uploaded, or the store does not answer.
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
            folder = find_run(self.runs, query)
            if folder and (folder / "scores.json").exists() and (run_id := self._id_of(folder)):
                return replace(RunRecord.load(folder, key), run_id=run_id)
            raise UserError(
                f"{key}: expected latest, best or the name of a run under {self.runs}, got {query}"
            )
        where = " on the configured text" if data_digest else ""
        raise UserError(f"{key}: expected a finished run{where} under {self.runs}, got none: train one first")

    def finished(self) -> list[RunRecord]:
        """List the finished trainings, the one that finished last first.

        Returns:
            The records of the runs.

        Raises:
            UserError: The store does not answer.
        """
        return list(self._newest_first())

    def _id_of(self, folder: Path) -> str:
        """Return the id that a run has in this store; "" for a run directory of another store."""
        return folder.name

    def _newest_first(self) -> Iterator[RunRecord]:
        scores = list(self.runs.glob("*/scores.json"))
        for file in sorted(scores, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            try:
                if not (run_id := self._id_of(file.parent)):
                    continue
                run = replace(RunRecord.load(file.parent), run_id=run_id)
            except UserError as error:
                echo_err(f"skipped run {file.parent.name}: {str(error).removeprefix('run: ')}")
                continue
            if run.status == "FINISHED" and self.experiment in ("", run.experiment):
                yield run

    def load_model(self, run: RunRecord) -> TrainedModel:
        """Load the trained model of a run.

        Args:
            run: A record of this store.

        Returns:
            The network with its vocabulary.

        Raises:
            UserError: The run has no model, or a damaged one.
        """
        return serialization.load((run.folder or self.runs / run.run_id) / "model")

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        """Load the config of a run.

        Args:
            run: A record of this store.

        Returns:
            The content of config.json, not validated.

        Raises:
            UserError: The run has no config.json, or a damaged one.
        """
        return run.config or read_json((run.folder or self.runs / run.run_id) / "config.json", dict[str, Any])

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
        return check_details(run, key)

    def save_files(self, run: RunRecord, files: dict[str, Callable[[Path], object]]) -> None:
        """Add files to a run; each replaces an earlier one.

        Args:
            run: A record of this store.
            files: Path in the run directory and below the artifacts, like `samples/a.txt`, to the function
                that creates the file at the path that it receives.

        Raises:
            UserError: A file cannot be written, another process writes the run, or the store does not answer.
        """
        for name, write in files.items():
            write((run.folder or self.runs / run.run_id) / name)

    def find_job(self, digest: str) -> RunRecord | None:
        """Find a finished run of a job, neither pruned nor interrupted.

        Args:
            digest: Digest of the job (`src.tracking.environment.job_digest`).

        Returns:
            The record of the newest such run; None where there is none.
        """
        for run in self._newest_first():
            if run.tags.get("job_digest") == digest and run.stop_reason not in INCOMPLETE:
                return run
        return None

    def job_results(self, sweep: str) -> list[JobResult]:
        """Return the results of the jobs of a sweep, without damaged runs of this machine.

        Args:
            sweep: Id of the sweep.

        Returns:
            One result per job, by number.

        Raises:
            UserError: The note of a job in MLflow, or one of its files, is damaged.
        """
        rows = []
        for file in sorted([*self.runs.glob(f"*/{JOB_NOTE}"), *self.runs.glob(f"*/sweep-{sweep}.json")]):
            try:
                note = read_json(file, JobNote)
                if note["sweep"] == sweep:
                    rows.append(job_result(file.parent, note))
            except UserError as error:
                echo_err(f"skipped run {file.parent.name}: {str(error).removeprefix('run: ')}")
        return sorted(rows, key=lambda row: row.number)

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        """Make a finished run a job of one more sweep.

        Args:
            run_id: Id of the run in this store.
            note: Note of the job, as in sweep.json.
        """
        write_json(self.runs / run_id / f"sweep-{note['sweep']}.json", {**note, "reused": True})
