"""Delivering a run's journal to MLflow."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from src.errors import InputError
from src.files import write_json
from src.lab import journal
from src.lab.mlflow_client import connect, experiment_id, out_of_reach
from src.lab.packaging import requirements, stage
from src.lab.serving import PARAMS

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
    client = connect(uri)
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
            if not done.run_id:
                done.run_id = create(client, record, artifacts)
                write_json(folder / STATE, asdict(done))  # should what follows fail, it is told of this run
            describe(client, done.run_id, record)
        case "artifact":
            client.log_artifact(
                done.run_id, str(journal.below(folder, record["path"])), record["folder"] or None
            )
        case "table":
            rows = record["rows"]
            table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
            # As client.log_table writes it, which would append the same rows when it is told again.
            client.log_dict(done.run_id, table, record["name"])
            marked = json.dumps([{"path": record["name"], "type": "table"}])
            client.set_tag(done.run_id, "mlflow.loggedArtifacts", marked)
        case "model":
            log_model(done.run_id, journal.below(folder, record["path"]))
        case "end":
            tell(client, folder, done, record)


def create(client: Any, record: dict[str, Any], artifacts: str) -> str:
    """Create the run with its tags; returns its id."""
    experiment = experiment_id(client, record["experiment"], artifacts)
    run = client.create_run(experiment, record["time"], record["tags"], record["name"])
    return str(run.info.run_id)


def describe(client: Any, run_id: str, record: dict[str, Any]) -> None:
    """The run's params and dataset; told twice they are there once."""
    params = [Param(key, "null" if value is None else str(value)) for key, value in record["params"].items()]
    client.log_batch(run_id, params=params)
    data = record["data"]
    if data is None:  # a job that was refused before its corpus was read
        return
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"][:36],  # as much as MLflow keeps
        source_type="local",
        source=json.dumps({"uri": data["source"]}),
        profile=json.dumps(data["profile"]),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:  # another job entered the same dataset at the same moment: now it is there
        client.log_inputs(run_id, inputs)


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
                ParamSpec(name, "long" if kind is int else "double", default)
                for name, (default, kind, _) in PARAMS.items()
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
