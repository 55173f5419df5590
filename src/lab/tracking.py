"""MLflow, and only here: delivering a run's journal, finding runs again.

MLflow takes some 4 seconds to import, so this module is imported by the delivering process and by
commands that look a run up, never by training.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.files import write_json
from src.lab import journal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # usage reporting: only if the user turns it on
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # the journal keeps what did not arrive

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from src.lab.packaging import requirements, stage

STATE = "delivered.json"
BATCH = 1000  # metric points a call: MLflow's limit
POLL = 0.5  # seconds between two looks at the journal
MODEL = "model"  # name of the logged model


@dataclass
class Delivered:
    """How far a journal has been delivered: bytes, the MLflow run, whether its end has been told."""

    offset: int = 0
    run_id: str = ""
    ended: bool = False

    @classmethod
    def of(cls, folder: Path) -> "Delivered":
        file = folder / STATE
        return cls(**json.loads(file.read_text())) if file.exists() else cls()


def deliver(folder: Path, uri: str, artifacts: str, alive: Callable[[], bool]) -> Delivered:
    """Deliver a run's journal from where it last stopped, until its end is told.

    folder: the run's directory. uri: the tracking store. artifacts: where a new experiment keeps its
    files, "" for the server's choice. alive: whether the training process still runs; a journal without
    an end whose process is gone is told as FAILED. A metric point told again (after an interruption
    between delivery and note) has the same time stamp, by which MLflow's database recognises it.
    """
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    done = Delivered.of(folder)
    while not done.ended:
        was_alive = alive()
        try:
            step(client, folder, done, artifacts)
        except MlflowException as error:
            raise out_of_reach(uri, error) from error
        if not done.ended and not was_alive:
            reason = "the training process ended without a word"
            tell(client, folder, done, {"status": "FAILED", "reason": reason, "time": journal.now()})
        elif not done.ended:
            time.sleep(POLL)
    return done


def step(client: Any, folder: Path, done: Delivered, artifacts: str) -> None:
    """Deliver what has been written since, metric points in batches."""
    points: list[Metric] = []
    for offset, record in journal.read(folder, done.offset):
        if record["kind"] != "metrics":
            flush(client, folder, done, points)
            apply(client, folder, done, record, artifacts)
            done.offset = offset
            write_json(folder / STATE, asdict(done))
            continue
        points += [Metric(k, v, record["time"], record["step"]) for k, v in record["values"].items()]
        done.offset = offset
        if len(points) > BATCH - 50:
            flush(client, folder, done, points)
    flush(client, folder, done, points)


def flush(client: Any, folder: Path, done: Delivered, points: list[Metric]) -> None:
    if points:
        client.log_batch(done.run_id, metrics=points)
        points.clear()
        write_json(folder / STATE, asdict(done))


def apply(client: Any, folder: Path, done: Delivered, record: dict[str, Any], artifacts: str) -> None:
    """Deliver one record that is not a metric point."""
    match record["kind"]:
        case "start":
            done.run_id = done.run_id or start(client, record, artifacts)
        case "artifact":
            client.log_artifact(done.run_id, str(folder / record["path"]), record["folder"] or None)
        case "table":
            rows = record["rows"]
            table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
            # As client.log_table writes it, which would append the same rows when it is told again.
            client.log_dict(done.run_id, table, record["name"])
            marked = json.dumps([{"path": record["name"], "type": "table"}])
            client.set_tag(done.run_id, "mlflow.loggedArtifacts", marked)
        case "model":
            log_model(done.run_id, folder / record["path"])
        case "end":
            tell(client, folder, done, record)


def start(client: Any, record: dict[str, Any], artifacts: str) -> str:
    """Create the run with its params, tags and dataset; returns its id."""
    experiment = experiment_id(client, record["experiment"], artifacts)
    run = client.create_run(experiment, record["time"], record["tags"], record["name"])
    params = [Param(key, "null" if value is None else str(value)) for key, value in record["params"].items()]
    client.log_batch(run.info.run_id, params=params)
    data = record["data"]
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"][:36],  # as much as MLflow keeps
        source_type="local",
        source=json.dumps({"uri": data["source"]}),
        profile=json.dumps(data["profile"]),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])
    return str(run.info.run_id)


def experiment_id(client: Any, name: str, artifacts: str) -> str:
    """The experiment of that name, made if need be; another process may make it at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts or None))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def ensure_experiment(uri: str, name: str, artifacts: str) -> str:
    """The experiment's id, made if need be."""
    return experiment_id(mlflow.MlflowClient(uri), name, artifacts)


def tell(client: Any, folder: Path, done: Delivered, record: dict[str, Any]) -> None:
    """The run's end."""
    if not done.run_id:
        raise InputError(f"expected a journal with a start, got none in {folder}")
    if record["reason"]:
        client.log_batch(done.run_id, tags=[RunTag("ended", record["reason"])])
    client.set_terminated(done.run_id, record["status"], record["time"])
    done.ended = True
    write_json(folder / STATE, asdict(done))


def log_model(run_id: str, folder: Path) -> None:
    """Log the trained network as an MLflow model that carries the code it needs.

    The loader is a module, not a pickled object, and its predict has no type hints: a hint there
    silently replaces the signature and drops every param.
    """
    signature = ModelSignature(
        inputs=Schema([ColSpec("string", "prompt")]),
        outputs=Schema([ColSpec("string", "text")]),
        params=ParamSchema(
            [
                ParamSpec("temperature", "double", 0.7),
                ParamSpec("length", "long", 300),
                ParamSpec("seed", "long", 1),
            ]
        ),
    )
    with stage() as (package, code):
        with mlflow.start_run(run_id=run_id):
            mlflow.pyfunc.log_model(
                name=MODEL,
                loader_module=f"{package}.serving",
                data_path=str(folder),
                code_paths=[str(code)],
                signature=signature,
                pip_requirements=requirements(),
            )
        mlflow.MlflowClient().update_run(run_id, status="RUNNING")  # the context above ended it


def find(run: str, uri: str, experiment: str) -> Any:
    """The MLflow run that `latest`, `best` or a run id means. Raises InputError when there is none."""
    nothing = f"run: expected a finished run in experiment {experiment}, got none: train one first"
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(nothing)  # MLflow would make the database
    client = mlflow.MlflowClient(uri)
    if run not in ("latest", "best"):
        try:
            return client.get_run(run)
        except MlflowException as error:
            raise InputError(f"run: expected latest, best or the id of a run, got {run}") from error
    try:
        found = client.get_experiment_by_name(experiment)
    except MlflowException as error:
        raise out_of_reach(uri, error) from error
    order = "metrics.`val/loss` ASC" if run == "best" else "attributes.start_time DESC"
    where = "attributes.status = 'FINISHED' AND tags.stage = 'train'"
    runs = client.search_runs([found.experiment_id], where, ViewType.ACTIVE_ONLY, 1, [order]) if found else []
    if not runs:
        raise InputError(nothing)
    return runs[0]


def out_of_reach(uri: str, error: Exception) -> InputError:
    """The one line for a store that does not answer."""
    reason = " ".join(str(error).split())[:200]
    return InputError(f"tracking.uri: expected a store that answers at {uri}, got {reason}")


def download(run: Any, uri: str, destination: Path) -> tuple[Path, dict[str, Any]]:
    """A run's model files and its config. Raises InputError for a run without them."""
    mlflow.set_tracking_uri(uri)
    run_id = run.info.run_id
    try:
        config = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.json"))
        folder = Path(
            mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{MODEL}", dst_path=str(destination))
        )
    except (MlflowException, OSError) as error:
        raise InputError(f"run: expected a run with a logged model, got {run_id}, which has none") from error
    return folder / "data" / MODEL, config


def log_file(run_id: str, uri: str, file: Path, folder: str) -> None:
    """Keep a file with a run that has ended; one of the same name is replaced."""
    mlflow.MlflowClient(uri).log_artifact(run_id, str(file), folder)
