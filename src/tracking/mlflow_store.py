"""The runs of an MLflow store."""

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from typing_extensions import override

from src.common.errors import UserError
from src.common.files import parse_json, record_schema, sqlite_file
from src.common.job_result import GRADIENTS, INCOMPLETE, GradientFile, JobResult
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking import mlflow_client, run_record
from src.tracking.directory_store import DirectoryStore
from src.tracking.mlflow_client import MAX_JOBS, MODEL, REGISTERED, RUN_DIR_TAG, connected
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import (
    COMPARED_CURVES,
    JOB_CURVES,
    SAMPLES,
    SCHEMAS,
    JobNote,
    RunRecord,
)
from src.tracking.sync_state import TRACKING, SyncState

FINISHED = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
NEWEST_FIRST = ["attributes.end_time DESC"]
SAMPLE_TABLE = record_schema(columns=list[str], data=list[list[Any]])  # samples.json as MLflow stores it
MAX_RUNS = 1000  # maximum number of finished runs that are listed
# Error codes of MLflow for a missing object, and for a name that no object can have.
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")


class MlflowStore(DirectoryStore):
    """The runs in one experiment of an MLflow store.

    A search raises StoreUnreachable if the store does not answer. A file that cannot be loaded counts as
    missing. `find`, `finished` and `find_job` return records without files and curves.

    Args:
        uri: URI of the store.
        experiment: Name of the experiment in which runs are searched.
        output_dir: Folder with the run directories of this machine, whose names `find` accepts.
    """

    def __init__(self, uri: str, experiment: str, output_dir: Path) -> None:
        super().__init__(output_dir, experiment)
        self.uri = uri

    @override
    def find(self, query: str, key: str = "run", data_digest: str = "") -> RunRecord:
        if query not in ("latest", "best") and self._exists():
            with connected(self.uri) as client:
                return record_of(get_run(client, self._synced_id(query, key), key))
        runs = self._search(FINISHED, NEWEST_FIRST, 1)
        if query == "best" and runs:
            digest = data_digest or runs[0].data.tags.get("data_digest", "")
            where = f"{FINISHED} AND tags.data_digest = '{digest}'"
            # of equal losses the first run is the best
            runs = self._search(where, ["metrics.`val/loss` ASC", "attributes.start_time ASC"], 1)
        if not runs:
            on_text = " on the configured text" if data_digest else ""
            raise UserError(
                f"{key}: expected a finished run{on_text} in experiment {self.experiment}, got none: train "
                "one first"
            )
        return record_of(runs[0])

    def _synced_id(self, query: str, key: str) -> str:
        """Return the id of the run whose directory has this name; any other name unchanged.

        Raises:
            UserError: The run is not uploaded yet.
        """
        folder = self.runs / query
        if Path(query).name != query or not (folder / TRACKING).exists():
            return query
        if run_id := SyncState.load(folder).run_id:
            return run_id
        raise UserError(
            f"{key}: expected a run that is uploaded, got {query}: upload it with python -m src.sync "
            f"{shlex.quote(str(folder))}, or add tracking=none"
        )

    def _exists(self) -> bool:
        """Return whether the database exists; MLflow would create a missing SQLite file."""
        file = sqlite_file(self.uri)
        return file is None or file.exists()

    def _search(self, where: str, order: list[str], most: int) -> list[Any]:
        """Return the matching runs of the experiment; neither the experiment nor the database is created."""
        if not self._exists():
            return []
        with connected(self.uri) as client:
            found = client.get_experiment_by_name(self.experiment)
            ids = [found.experiment_id] if found else []
            return list(client.search_runs(ids, where, ViewType.ACTIVE_ONLY, most, order)) if ids else []

    @override
    def finished(self) -> list[RunRecord]:
        runs = self._search(FINISHED, NEWEST_FIRST, MAX_RUNS)
        aliases = mlflow_client.registered_versions(self.uri) if runs else {}
        return [record_of(run, tuple(aliases.get(run.info.run_id, ()))) for run in runs]

    @override
    def load_model(self, run: RunRecord) -> TrainedModel:
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = mlflow.artifacts.download_artifacts(f"runs:/{run.run_id}/{MODEL}", dst_path=folder)
            except (MlflowException, OSError) as error:
                message = f"run: expected a run with a logged model, got {run.run_id}, which has none"
                raise UserError(message) from error
            return serialization.load(Path(files) / "data" / MODEL)

    @override
    def load_config(self, run: RunRecord) -> dict[str, Any]:
        if config := load_file(run.run_id, "config.json", SCHEMAS["config"]):
            return dict(config)
        raise UserError(f"run: expected a run with a config.json, got {run.run_id}, which has none")

    @override
    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        files: dict[str, Any] = {
            name: load_file(run.run_id, f"{name}.json", schema, key) or {} for name, schema in SCHEMAS.items()
        }
        samples = load_samples(run.run_id, key)
        with connected(self.uri) as client:
            curves = load_curves(client, run.run_id, COMPARED_CURVES)
        return run_record.check_details(replace(run, curves=curves, samples=samples, **files), key)

    @override
    def save_files(self, run: RunRecord, files: dict[str, Callable[[Path], object]]) -> None:
        with tempfile.TemporaryDirectory() as temporary, connected(self.uri) as client:
            for name, write in files.items():
                write(Path(temporary) / name)
            client.log_artifacts(run.run_id, temporary)

    @override
    def find_job(self, digest: str) -> RunRecord | None:
        where = f"attributes.status = 'FINISHED' AND tags.job_digest = '{digest}'"
        where += "".join(f" AND tags.stop_reason != '{reason}'" for reason in INCOMPLETE)
        found = self._search(where, ["attributes.start_time DESC"], 1)
        return record_of(found[0]) if found else None

    @override
    def job_results(self, sweep: str) -> list[JobResult]:
        found = self._search(f"tags.`{SWEEP_TAG_PREFIX}{sweep}` != ''", ["attributes.start_time"], MAX_JOBS)
        with connected(self.uri) as client:
            return sorted((job_result(client, run, sweep) for run in found), key=lambda row: row.number)

    @override
    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        with connected(self.uri) as client:
            client.set_tag(run_id, f"{SWEEP_TAG_PREFIX}{note['sweep']}", json.dumps(note))


def record_of(run: Any, aliases: tuple[str, ...] = ()) -> RunRecord:
    """Build the record of an MLflow run, without its files and curves.

    Args:
        run: An `mlflow.entities.Run`.
        aliases: Aliases of its registered model; empty by default.

    Returns:
        The record.
    """
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
    """Parse a JSON text that is logged with an MLflow run.

    Args:
        run_id: Id of the run, for an error.
        name: Name of the text, for an error.
        text: The JSON text.
        schema: Type of its content (`src.common.files.read_json`).
        key: Config key that an error names.

    Returns:
        The content.

    Raises:
        UserError: The text is damaged.
    """
    try:
        return parse_json(text, schema)
    except ValueError as error:
        message = f"{key}: expected a whole {name} in run {run_id}, got a damaged one ({error})"
        raise UserError(message) from error


def get_run(client: Any, name: str, key: str = "run") -> Any:
    """Get the run that an id, an alias of the registered model or a models:/ address names.

    Args:
        client: Client of the store.
        name: A run id of 32 hexadecimal digits, an alias, models:/NAME@ALIAS or models:/NAME/VERSION.
        key: Config key that an error names.

    Returns:
        The `mlflow.entities.Run`.

    Raises:
        UserError: There is no such run.
        MlflowException: The store does not answer.
    """
    model, alias, version = REGISTERED, name, ""
    if address := re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", name):
        model, alias, version = address[1], address[2] or "", address[3] or ""
    try:
        if not address and re.fullmatch(r"[0-9a-f]{32}", name):
            return client.get_run(name)
        if version:
            return client.get_run(client.get_model_version(model, version).run_id)
        return client.get_run(client.get_model_version_by_alias(model, alias).run_id)
    except MlflowException as error:
        if error.error_code not in NOT_FOUND_CODES:
            raise
        raise UserError(
            f"{key}: expected latest, best, an alias that {REGISTERED} has (register=true makes champion), "
            f"models:/NAME@ALIAS or a run id, got {name}"
        ) from error


def load_curves(client: Any, run_id: str, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Load the points of a run's metrics.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        names: Names of the metrics.

    Returns:
        Metric name to its (step, value) points in the order of the steps; no points for an unknown name.
    """
    history = client.get_metric_history
    return {name: sorted((m.step, m.value) for m in history(run_id, name)) for name in names}


def job_result(client: Any, run: Any, sweep: str) -> JobResult:
    """Build the result of a job from its MLflow run.

    Args:
        client: Client of the store.
        run: The `mlflow.entities.Run` of the job, with a tag of the sweep.
        sweep: Id of the parent run.

    Returns:
        The result, with curves, samples and, where they were measured, gradient norms.

    Raises:
        UserError: The note of the job, or one of its files, is damaged.
    """
    record = record_of(run)
    note = parse_logged(record.run_id, "sweep tag", record.tags[SWEEP_TAG_PREFIX + sweep], JobNote, "run")
    note["reused"] = record.tags.get("mlflow.parentRunId") != sweep
    gradients = None
    if record.params.get("diagnostics") == "True" and record.status == "FINISHED":
        gradients = load_file(record.run_id, GRADIENTS, GradientFile)
    curves = load_curves(client, record.run_id, record.metrics.keys() & JOB_CURVES)
    samples = load_samples(record.run_id) if "mlflow.loggedArtifacts" in record.tags else []
    record = replace(record, curves=curves, samples=samples)
    return run_record.build_job_result(record, note, gradients, record.tags.get(RUN_DIR_TAG, ""))


def load_samples(run_id: str, key: str = "run") -> list[dict[str, Any]]:
    """Load the table of samples of a run.

    Args:
        run_id: Id of the run.
        key: Config key that an error names.

    Returns:
        One row per sample, column name to value; empty where the run has no table.

    Raises:
        UserError: The table is damaged.
    """
    table = load_file(run_id, SAMPLES, SAMPLE_TABLE, key) or {"columns": [], "data": []}
    return [dict(zip(table["columns"], values, strict=False)) for values in table["data"]]


def load_file(run_id: str, name: str, schema: Any, key: str = "run") -> Any:
    """Load a JSON file that is logged with a run.

    Args:
        run_id: Id of the run.
        name: Path below the run's artifacts.
        schema: Type of its content (`src.common.files.read_json`).
        key: Config key that an error names.

    Returns:
        The content; None where the run has no such file.

    Raises:
        UserError: The file is damaged.
    """
    try:
        text = mlflow.artifacts.load_text(f"runs:/{run_id}/{name}")
    except (MlflowException, OSError):
        return None
    return parse_logged(run_id, name, text, schema, key)
