"""The runs of an MLflow store, as a RunStore, and the parent runs of sweeps."""

import json
import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from src.common.errors import UserError
from src.common.files import parse_json, record_schema
from src.common.job_result import GRADIENTS, INCOMPLETE, GradientFile, JobResult, best_gradient_norms
from src.models import serialization
from src.models.serialization import TrainedModel
from src.tracking.mlflow_client import (
    MODEL,
    REGISTERED,
    RUN_DIR_TAG,
    SQLITE,
    connect,
    experiment_id,
    registered_versions,
    store_errors,
)
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import (
    COMPARED_CURVES,
    REQUIRED,
    SAMPLES,
    SCHEMAS,
    JobNote,
    RunRecord,
    check_details,
)
from src.tracking.sync_state import TRACKING, SyncState

FINISHED = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
NEWEST_FIRST = ["attributes.end_time DESC"]
SAMPLE_TABLE = record_schema(columns=list[str], data=list[list[Any]])  # samples.json as MLflow stores it
MAX_RUNS = 1000  # finished runs that are listed
MAX_JOBS = 5000  # jobs of a sweep that are read
CURVES = ("train/loss", "val/loss")  # of a job's result
# Error codes of MLflow for what is not there, or cannot be by its name.
NOT_FOUND_CODES = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")


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
        return record_of(find(self._synced_id(query, key), self.uri, self.experiment, key, data_digest))

    def _synced_id(self, query: str, key: str) -> str:
        """Find the id of the run with a directory of this name; any other name is returned as it is."""
        folder = self.runs / query
        if Path(query).name != query or not (folder / TRACKING).exists():
            return query
        if run_id := SyncState.load(folder).run_id:
            return run_id
        raise UserError(
            f"{key}: expected a run that is uploaded, got {query}: upload it with python -m src.sync "
            f"{shlex.quote(str(folder))}, or add tracking=none"
        )

    def finished(self) -> list[RunRecord]:
        runs = search_finished(self.uri, self.experiment, FINISHED, NEWEST_FIRST, MAX_RUNS)
        aliases = registered_versions(self.uri) if runs else {}
        return [record_of(run, tuple(aliases.get(run.info.run_id, ()))) for run in runs]

    def load_model(self, run: RunRecord) -> TrainedModel:
        connect(self.uri)
        with tempfile.TemporaryDirectory() as folder:
            try:
                files = mlflow.artifacts.download_artifacts(f"runs:/{run.run_id}/{MODEL}", dst_path=folder)
            except (MlflowException, OSError) as error:
                message = f"run: expected a run with a logged model, got {run.run_id}, which has none"
                raise UserError(message) from error
            return serialization.load(Path(files) / "data" / MODEL)

    def load_config(self, run: RunRecord) -> dict[str, Any]:
        texts = self._load_texts(run, ("config.json",))
        if not texts:
            raise UserError(f"run: expected a run with a config.json, got {run.run_id}, which has none")
        return dict(parse_logged(run.run_id, "config.json", texts["config.json"], SCHEMAS["config"], "run"))

    def _load_texts(self, run: RunRecord, names: tuple[str, ...]) -> dict[str, str]:
        """Load those of the named files that the run has."""
        client = connect(self.uri)
        with store_errors(self.uri):
            location = client.get_run(run.run_id).info.artifact_uri
            there = {file.path for file in client.list_artifacts(run.run_id)}
            return {name: mlflow.artifacts.load_text(f"{location}/{name}") for name in names if name in there}

    def load_details(self, run: RunRecord, key: str = "run") -> RunRecord:
        texts = self._load_texts(run, REQUIRED)
        schemas: dict[str, Any] = {**SCHEMAS, "samples": SAMPLE_TABLE}
        parsed = {
            name: parse_logged(run.run_id, f"{name}.json", texts[f"{name}.json"], schema, key)
            for name, schema in schemas.items()
            if f"{name}.json" in texts
        }
        parsed["samples"] = to_rows(parsed["samples"]) if "samples" in parsed else []
        with store_errors(self.uri):
            curves = load_curves(connect(self.uri), run.run_id, COMPARED_CURVES)
        return check_details(replace(run, curves=curves, **parsed), key)

    def save_file(self, run: RunRecord, name: str, write: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / Path(name).name
            write(file)
            connect(self.uri).log_artifact(run.run_id, str(file), str(Path(name).parent))

    def find_job(self, digest: str) -> RunRecord | None:
        where = f"attributes.status = 'FINISHED' AND tags.job_digest = '{digest}'"
        where += "".join(f" AND tags.stop_reason != '{reason}'" for reason in INCOMPLETE)
        found = self._search(where, ["attributes.start_time DESC"], 1)
        return record_of(found[0]) if found else None

    def job_results(self, sweep: str) -> list[JobResult]:
        found = self._search(f"tags.`{SWEEP_TAG_PREFIX}{sweep}` != ''", ["attributes.start_time"], MAX_JOBS)
        client = connect(self.uri)
        return sorted((job_result(client, run, sweep) for run in found), key=lambda result: result.number)

    def _search(self, where: str, order: list[str], most: int) -> list[Any]:
        """Search the experiment, which is created where there is none."""
        client = connect(self.uri)
        experiment = experiment_id(client, self.experiment, "")
        return list(client.search_runs([experiment], where, ViewType.ACTIVE_ONLY, most, order))

    def add_to_sweep(self, run_id: str, note: dict[str, Any]) -> None:
        connect(self.uri).set_tag(run_id, f"{SWEEP_TAG_PREFIX}{note['sweep']}", json.dumps(note))


def record_of(run: Any, aliases: tuple[str, ...] = ()) -> RunRecord:
    """Build the record of an MLflow run, without its files and curves."""
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
        message = f"{key}: expected a whole {name} in run {run_id}, got a damaged one ({error})"
        raise UserError(message) from error


def to_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return [dict(zip(table["columns"], values, strict=False)) for values in table["data"]]


def find(run: str, uri: str, experiment: str, key: str = "run", data_digest: str = "") -> Any:
    """Find the MLflow run that a person names, as `RunStore.find` describes it.

    Of equal losses the first run is the best.

    Raises:
        UserError: There is none.
    """
    if run not in ("latest", "best") and database_exists(uri):
        client = connect(uri)
        with store_errors(uri):
            return get_run(client, run, key)
    runs = search_finished(uri, experiment, FINISHED, NEWEST_FIRST, 1)
    if run == "best" and runs:
        digest = data_digest or runs[0].data.tags.get("data_digest", "")
        where = f"{FINISHED} AND tags.data_digest = '{digest}'" if digest else FINISHED
        order = ["metrics.`val/loss` ASC", "attributes.start_time ASC"]
        runs = search_finished(uri, experiment, where, order, 1)
    if not runs:
        on_text = " on the configured text" if data_digest else ""
        raise UserError(
            f"{key}: expected a finished run{on_text} in experiment {experiment}, got none: train one first"
        )
    return runs[0]


def search_finished(uri: str, experiment: str, where: str, order: list[str], most: int) -> list[Any]:
    """Search an experiment, if there is one; neither it nor the database is created."""
    if not database_exists(uri):
        return []
    client = connect(uri)
    with store_errors(uri):
        found = client.get_experiment_by_name(experiment)
        ids = [found.experiment_id] if found else []
        return list(client.search_runs(ids, where, ViewType.ACTIVE_ONLY, most, order)) if ids else []


def database_exists(uri: str) -> bool:
    """Return whether the database exists; MLflow would create a missing SQLite file."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).exists()


def get_run(client: Any, name: str, key: str = "run") -> Any:
    """Get the run that an id, an alias of the registered model or a models:/ address names."""
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


def load_curves(client: Any, run_id: str, names: tuple[str, ...]) -> dict[str, list[tuple[int, float]]]:
    """Load the (step, value) points of a run's metrics by name."""
    return {name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)] for name in names}


def job_result(client: Any, run: Any, sweep: str) -> JobResult:
    """Build a job's result from its MLflow run; sweep: id of the parent run."""
    tags, run_id = run.data.tags, run.info.run_id
    job = parse_logged(run_id, "sweep tag", tags[SWEEP_TAG_PREFIX + sweep], JobNote, "run")
    ended = run.info.end_time or run.info.start_time
    curves = load_curves(client, run_id, tuple(name for name in CURVES if name in run.data.metrics))
    return JobResult(
        name=job["name"],
        number=job["number"],
        swept=job["swept"],
        run_id=run_id,
        status=run.info.status,
        reason=tags.get("stop_reason", ""),
        reused=tags.get("mlflow.parentRunId") != sweep,
        seconds=(ended - run.info.start_time) / 1000,
        metrics=dict(run.data.metrics),
        curves={name: sorted(points) for name, points in curves.items()},
        samples=load_samples(run),
        gradient=load_gradient_norms(run, curves.get("val/loss", [])),
        directory=tags.get(RUN_DIR_TAG, ""),
    )


def load_samples(run: Any) -> list[dict[str, Any]]:
    """Load the rows of the run's table of samples; none where it has none."""
    table = load_file(run, SAMPLES, SAMPLE_TABLE) if "mlflow.loggedArtifacts" in run.data.tags else None
    return to_rows(table) if table else []


def load_gradient_norms(run: Any, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Load the gradient norms of the best weights; none where they were not measured."""
    if run.data.params.get("diagnostics") != "True" or run.info.status != "FINISHED":
        return []
    norms = load_file(run, GRADIENTS, GradientFile)
    return best_gradient_norms(norms, sorted(val)) if norms else []


def load_file(run: Any, name: str, schema: Any) -> Any:
    """Load a JSON file that is logged with the run; None where it has none."""
    try:
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")
    except (MlflowException, OSError):
        return None
    return parse_logged(run.info.run_id, name, text, schema, "run")


def create_parent(uri: str, experiment: str, artifacts: str, name: str, tags: dict[str, str]) -> str:
    """Create the parent run of a sweep; its id. Raises UserError when the store does not answer."""
    with store_errors(uri):
        client = connect(uri)
        run = client.create_run(experiment_id(client, experiment, artifacts), tags=tags, run_name=name[:250])
    return str(run.info.run_id)


def close_parent(
    uri: str, parent: str, status: str, metrics: dict[str, float], tags: dict[str, str], files: list[Any]
) -> None:
    """Log the outcome of a sweep, with local files, and end its parent run."""
    client = connect(uri)
    for file in files:
        client.log_artifact(parent, str(file))
    for name, value in metrics.items():
        client.log_metric(parent, name, value)
    for name, text in tags.items():
        client.set_tag(parent, name, text)
    client.set_terminated(parent, status)
