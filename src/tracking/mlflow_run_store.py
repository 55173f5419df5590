"""The runs of an MLflow store, as a RunStore. MLflow is imported by the first call, not before."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from src.common.errors import UserError
from src.common.job_result import JobResult
from src.common.json_file import parse_json
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import (
    COMPARED_CURVES,
    REQUIRED,
    SCHEMAS,
    RunRecord,
    check_present,
    with_digests,
)
from src.tracking.sync_state import TRACKING, SyncState


class MlflowStore:
    """Runs in an experiment of an MLflow store.

    Args:
        uri: Of the store.
        experiment: Name of the experiment in which `latest`, `best` and `finished` look.
        output_dir: The directories of whose runs are names of their runs in MLflow, too.
    """

    def __init__(self, uri: str, experiment: str, output_dir: Path) -> None:
        self.uri, self.experiment, self.runs = uri, experiment, output_dir / "runs"

    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        from src.tracking import mlflow_store  # slow to import

        run_id = self._synced_id(query, key)
        return record_of(mlflow_store.find(run_id, self.uri, self.experiment, key, data_digest))

    def _synced_id(self, query: str, key: str) -> str:
        """The id of the run with a directory of this name; any other name is returned as it is."""
        folder = self.runs / query
        if Path(query).name != query or not (folder / TRACKING).exists():
            return query
        if run_id := SyncState.load(folder).run_id:
            return run_id
        raise UserError(
            f"{key}: expected a run that is uploaded, got {query}: upload it with python -m src.sync "
            f"{folder}, or add tracking=none"
        )

    def finished(self) -> list[RunRecord]:
        from src.tracking import mlflow_store

        runs = mlflow_store.finished_runs(self.uri, self.experiment)
        aliases = mlflow_store.registered_versions(self.uri) if runs else {}
        return [record_of(run, tuple(aliases.get(run.info.run_id, ()))) for run in runs]

    def load_model(self, run: RunRecord) -> TrainedModel:
        from src.tracking import mlflow_store

        with tempfile.TemporaryDirectory() as temporary:
            return serialization.load(mlflow_store.download(run.run_id, self.uri, Path(temporary)))

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        from src.tracking import mlflow_store

        texts = mlflow_store.logged_texts(run.run_id, self.uri, ("config.json",))
        if not texts:
            raise UserError(f"run: expected a run with a config.json, got {run.run_id}, which has none")
        return dict(parse_logged(run.run_id, "config.json", texts["config.json"], dict[str, Any], "run"))

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        from src.tracking import mlflow_store
        from src.tracking.formats import SampleTable

        texts = mlflow_store.logged_texts(run.run_id, self.uri, REQUIRED)
        check_present(run, [name for name in REQUIRED if name not in texts], key)
        parsed = {
            name: parse_logged(run.run_id, f"{name}.json", texts[f"{name}.json"], schema, key)
            for name, schema in {**SCHEMAS, "samples": SampleTable}.items()
        }
        table = parsed["samples"]
        parsed["samples"] = [dict(zip(table["columns"], row, strict=False)) for row in table["data"]]
        curves = mlflow_store.history(run.run_id, self.uri, COMPARED_CURVES)
        return with_digests(replace(run, curves=curves, **parsed), key)

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        from src.tracking import mlflow_store

        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / Path(name).name
            write(file)
            mlflow_store.log_file(run.run_id, self.uri, file, str(Path(name).parent))

    def find_job(self, digest: str) -> RunRecord | None:
        from src.tracking import mlflow_store

        run = mlflow_store.find_job(self.uri, self.experiment, digest)
        return record_of(run) if run else None

    def job_results(self, sweep: str) -> list[JobResult]:
        from src.tracking import mlflow_store

        return mlflow_store.sweep_results(self.uri, self.experiment, sweep)

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        from src.tracking import mlflow_store

        mlflow_store.tag_as_member(self.uri, run_id, f"{SWEEP_TAG_PREFIX}{note['sweep']}", json.dumps(note))


def record_of(run: Any, aliases: tuple[str, ...] = ()) -> RunRecord:
    """The record of an MLflow run, without its files and curves."""
    info, data = run.info, run.data
    return RunRecord(
        run_id=info.run_id,
        name=info.run_name,
        status=info.status,
        stop_reason=data.tags.get("stop_reason", ""),
        start_time=info.start_time,
        end_time=info.end_time or 0,
        params=dict(data.params),
        tags=dict(data.tags),
        data_digest=data.tags.get("data_digest", ""),
        metrics=dict(data.metrics),
        aliases=aliases,
    )


def parse_logged(run_id: str, name: str, text: str, schema: Any, key: str) -> Any:
    """Parse a file that is logged with an MLflow run. Raises UserError for a damaged one."""
    try:
        return parse_json(text, schema)
    except ValueError as error:
        raise UserError(
            f"{key}: expected a whole {name} in run {run_id}, got a damaged one ({error})"
        ) from error
