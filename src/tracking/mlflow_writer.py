"""What each record of a journal becomes in MLflow.

Every function here may be called again with the same record, after an error or a crash, and leaves what it
tells there once.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from src.serving.package import requirements, stage
from src.serving.pyfunc import PARAMS
from src.tracking import mlflow_links
from src.tracking.mlflow_client import DIRECTORY, experiment_id

MODEL = "model"  # name of the logged model


def find(client: Any, record: dict[str, Any], artifacts: str, directory: str) -> str:
    """The id of the run that was made of this start already; "" without one."""
    experiment = experiment_id(client, record["experiment"], artifacts)
    runs = client.search_runs([experiment], f"tags.{DIRECTORY} = '{directory}'", max_results=1)
    return str(runs[0].info.run_id) if runs else ""


def create(client: Any, record: dict[str, Any], artifacts: str, directory: str) -> tuple[str, str]:
    """Create the run with its tags; its id and that of its experiment."""
    experiment = experiment_id(client, record["experiment"], artifacts)
    tags = {**record["tags"], DIRECTORY: directory}
    run = client.create_run(experiment, record["time"], tags, record["name"][:250])
    return str(run.info.run_id), experiment


def describe(client: Any, run_id: str, record: dict[str, Any]) -> None:
    """The run's params and dataset."""
    params = [Param(key, "null" if value is None else str(value)) for key, value in record["params"].items()]
    client.log_batch(run_id, params=params)
    data = record["data"]
    if data is None:  # a job that was refused before its corpus was read, or a sweep
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


def points(record: dict[str, Any]) -> list[Metric]:
    """The metric points of a record."""
    return [Metric(k, v, record["time"], record["step"]) for k, v in record["values"].items()]


def missing(client: Any, run_id: str, told: list[Metric]) -> list[Metric]:
    """Those of the points that the store does not have. (MLflow's database would drop the others, its file
    store and other servers need not.)"""
    there = {
        (key, m.step, m.timestamp)
        for key in {m.key for m in told}
        for m in client.get_metric_history(run_id, key)
    }
    return [m for m in told if (m.key, m.step, m.timestamp) not in there]


def table(client: Any, run_id: str, record: dict[str, Any]) -> None:
    """As client.log_table writes it, which would append the same rows when it is told again."""
    rows = record["rows"]
    client.log_dict(
        run_id, {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}, record["name"]
    )
    marked = json.dumps([{"path": record["name"], "type": "table"}])
    client.set_tag(run_id, "mlflow.loggedArtifacts", marked)


def end(client: Any, run_id: str, record: dict[str, Any]) -> None:
    """The run's end and its reason."""
    if record["reason"]:
        client.log_batch(run_id, tags=[RunTag("stop_reason", record["reason"])])
    client.set_terminated(run_id, record["status"], record["time"])


def resumed(client: Any, run_id: str, tags: dict[str, str]) -> None:
    """The run goes on behind an end. tags: those of the sweep of which it is a job now."""
    client.update_run(run_id, status="RUNNING")
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if "stop_reason" in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, "stop_reason")


def sweep(client: Any, parent: str, experiment: str, record: dict[str, Any], ids: dict[str, str]) -> None:
    """What a sweep came to: tags of its parent, and its view. ids: directory's name to run id."""
    for name, text in record["tags"].items():
        client.set_tag(parent, name, ids.get(text, text))
    ranked = [ids[name] for name in record["ranked"]]
    mlflow_links.save_view(client, experiment, parent, record["name"], record["keys"], ranked)


def model(client: Any, run_id: str, experiment: str, folder: Path, again: bool) -> None:
    """Log the trained network as an MLflow model. again: it may be there, whole or in part."""
    if again:
        known = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
        whole = [m for m in known if m.name == MODEL and m.status == LoggedModelStatus.READY]
        for part in known:
            if part not in whole:
                client.delete_logged_model(part.model_id)
        if whole:
            return
    log_model(run_id, folder)
    mlflow.MlflowClient().update_run(run_id, status="RUNNING")  # the context in there ended it


def log_model(run_id: str, folder: Path) -> None:
    """Log the model, with the code that it needs.

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
    with stage() as (package, code), mlflow.start_run(run_id=run_id):
        mlflow.pyfunc.log_model(
            name=MODEL,
            loader_module=f"{package}.loader",
            data_path=str(folder),
            code_paths=[str(code)],
            signature=signature,
            pip_requirements=requirements(),
        )
