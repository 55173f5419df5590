"""The runs in the directories of this machine, as a RunStore."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from src.common.atomic_io import write_json
from src.common.console import echo_err
from src.common.errors import UserError
from src.common.job_result import INCOMPLETE, JobResult
from src.common.json_file import read_json
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking.run_record import (
    JOB_NOTE,
    REQUIRED,
    RunRecord,
    check_present,
    job_result,
    read_job_note,
    with_digests,
)


class DirectoryStore:
    """Runs in the directories under output_dir/runs."""

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
        parts = (run.config, run.environment, run.scores, run.samples)
        check_present(run, [name for name, part in zip(REQUIRED, parts, strict=True) if not part], key)
        return with_digests(run, key)

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
