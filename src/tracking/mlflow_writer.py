"""Handlers that write each event of a run to MLflow. Each can be repeated with the same event."""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

from src.serving.pyfunc import PARAMS
from src.tracking import description, mlflow_links
from src.tracking.mlflow_client import MAX_JOBS, MODEL, RUN_DIR_TAG, experiment_id
from src.tracking.run import SWEEP_TAG_PREFIX
from src.tracking.run_record import RunRecord

EVENT = "event"  # tag of a logged model: end of its event in the log, in bytes, to recognize repeated events
SOURCE = Path(__file__).resolve().parents[1]
# What a logged model carries to write text where this project is not installed: packages of the project, and
# the packages that these import.
CARRIED = ("common", "data", "generation", "models", "rnn", "serving")
MODEL_METRICS = ("val/loss", "test/bpc", "test/accuracy", "final_val/bpc", "final_val/accuracy")
REQUIREMENTS = ("mlflow", "numpy", "pydantic", "safetensors", "typing-extensions")


def find_or_create_run(client: Any, event: dict[str, Any], artifacts: str, directory: str) -> tuple[str, str]:
    """Find the MLflow run of a run directory, or create it with its tags.

    Args:
        client: Client of the store.
        event: The start event.
        artifacts: URI of the folder in which a new experiment keeps its files; "" for the store's choice.
        directory: Name of the run directory, by which the run is found again.

    Returns:
        Id of the run, and id of its experiment.
    """
    experiment = experiment_id(client, event["experiment"], artifacts)
    found = client.search_runs([experiment], f"tags.{RUN_DIR_TAG} = '{directory}'", max_results=1)
    if found:
        return str(found[0].info.run_id), experiment
    tags = {**event["tags"], RUN_DIR_TAG: directory}
    run = client.create_run(experiment, event["time"], tags, event["name"][:250])
    return str(run.info.run_id), experiment


def log_inputs(client: Any, run_id: str, event: dict[str, Any]) -> None:
    """Log the params of a run and, if it has one, its dataset.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        event: The start event.
    """
    params = [Param(key, "null" if value is None else str(value)) for key, value in event["params"].items()]
    client.log_batch(run_id, params=params)
    data = event["data"]
    if data is None:  # a sweep, or a job that failed before its corpus was read
        return
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"][:36],  # MLflow's limit
        source_type="local",
        source=json.dumps({"uri": data["source"]}),
        profile=json.dumps(data["profile"]),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException:  # another job logged the same dataset at the same moment, so now it exists
        client.log_inputs(run_id, inputs)


def log_table(client: Any, run_id: str, event: dict[str, Any]) -> None:
    """Write a table as an artifact.

    `client.log_table` would append the rows again when the event is repeated.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        event: A table event, with at least one row.
    """
    rows, name = event["rows"], event["name"]
    client.log_dict(run_id, {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}, name)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": name, "type": "table"}]))


def mark_resumed(client: Any, run_id: str, tags: dict[str, str]) -> None:
    """Set a run to RUNNING again, and remove its stop reason.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        tags: Tags to add, those of the sweep that resumed the run; may be empty.
    """
    client.update_run(run_id, status="RUNNING")
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if "stop_reason" in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, "stop_reason")


def log_sweep(client: Any, parent: str, experiment: str, event: dict[str, Any]) -> None:
    """Tag the parent run with the result of its sweep, and save the view that shows its jobs.

    The jobs are found by the names of their directories. A tag whose value is such a name gets the id of the
    run instead.

    Args:
        client: Client of the store.
        parent: Id of the parent run.
        experiment: Id of the experiment.
        event: The sweep event.
    """
    jobs = client.search_runs([experiment], f"tags.`{SWEEP_TAG_PREFIX}{parent}` != ''", max_results=MAX_JOBS)
    ids = {run.data.tags.get(RUN_DIR_TAG): run.info.run_id for run in jobs}
    for name, text in event["tags"].items():
        client.set_tag(parent, name, ids.get(text, text))
    ranked = [ids[name] for name in event["ranked"] if name in ids]
    mlflow_links.save_view(client, experiment, parent, event["name"], event["keys"], ranked)


def describe(client: Any, run_id: str, run: RunRecord) -> None:
    """Set the description of a run that has ended, and keep the view of all runs current.

    A description that a person edited is kept. The jobs of a sweep leave the view to the parent run.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        run: The run as its event log has it.
    """
    known = client.get_run(run_id)
    experiment, text = known.info.experiment_id, known.data.tags.get(description.NOTE, "")
    if not text or text.endswith(description.FOOTER):
        link = partial(mlflow_links.page_link, "", experiment, run_id)
        text = description.run_description(run, lambda name: link(f"artifacts/{name}"))
        client.set_tag(run_id, description.NOTE, text)
    if "mlflow.parentRunId" not in run.tags:
        mlflow_links.save_overview(client, experiment)


def log_model(
    client: Any, run_id: str, experiment: str, folder: Path, offset: int, run: RunRecord, uri: str
) -> None:
    """Log the trained network as an MLflow model, with its scores, a description and the code that it needs.

    A model that was logged for the same event is kept if it is complete, else replaced. The loader is a
    module, not a pickled object.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        experiment: Id of its experiment.
        folder: Directory of the model (`src.models.serialization.save`).
        offset: End of the model event in the log, in bytes; it identifies the event.
        run: The run as its event log has it.
        uri: URI of the store, for the description.
    """
    same_event = f"source_run_id = '{run_id}' AND tags.{EVENT} = '{offset}'"
    for known in client.search_logged_models([experiment], same_event):
        if known.status == LoggedModelStatus.READY:
            log_model_metrics(client, run_id, known.model_id, run)
            return
        client.delete_logged_model(known.model_id)
    types: dict[type, str] = {int: "long", float: "double"}
    params = [ParamSpec(name, types[kind], default) for name, (default, kind, *_) in PARAMS.items()]
    inputs, outputs = (Schema([ColSpec("string", name)]) for name in ("prompt", "text"))
    signature = ModelSignature(inputs, outputs, ParamSchema(params))
    example = {"prompt": [run.samples[0]["prompt"] if run.samples else ""]}
    note = description.model_description(run, uri, f"runs:/{run_id}/{MODEL}")
    with stage_code() as (package, code), mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            loader_module=f"{package}.serving.pyfunc",
            data_path=str(folder),
            code_paths=[str(code)],
            signature=signature,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            input_example=(example, {name: default for name, (default, *_) in PARAMS.items()}),
            tags={EVENT: offset, description.NOTE: note},
        )
    log_model_metrics(client, run_id, logged.model_id, run)
    client.update_run(run_id, status="RUNNING")  # leaving start_run ended the run


def log_model_metrics(client: Any, run_id: str, model_id: str, run: RunRecord) -> None:
    """Log the scores of a run as those of its model; the run itself has them already.

    Args:
        client: Client of the store.
        run_id: Id of the run.
        model_id: Id of the logged model.
        run: The run as its event log has it.
    """
    names = [name for name in MODEL_METRICS if name in run.metrics]
    last = [max(client.get_metric_history(run_id, name), key=lambda point: point.step) for name in names]
    # MLflow drops points that the run has: those with the same time, step and value.
    points = [Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id) for m in last]
    client.log_batch(run_id, metrics=points)


@contextmanager
def stage_code() -> Iterator[tuple[str, Path]]:
    """Copy the code that a model carries to a temporary package.

    The name of the package contains the digest of the code, so that one process can load two models of
    different versions.

    Yields:
        Name of the package, and its directory, which exists while the context lasts.
    """
    files = sorted(file for part in CARRIED for file in (SOURCE / part).glob("*.py"))
    texts = {file.relative_to(SOURCE): file.read_text(encoding="utf-8") for file in files}
    package = f"char_rnn_{hashlib.sha256(''.join(texts.values()).encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / package
        for name, text in texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            code = re.sub(r"^( *)from src\.", rf"\1from {package}.", text, flags=re.MULTILINE)
            (root / name).write_text(code, encoding="utf-8")
        (root / "__init__.py").touch()
        yield package, root
