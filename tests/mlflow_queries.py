"""Queries of MLflow runs, and uploads of copies of the shared run."""

import json
import shutil
from pathlib import Path
from typing import Any

from src.tracking.sync_state import TRACKING, SyncState

CURVES = (
    "train/loss",
    "val/loss",
    "val/bpc",
    "grad/norm",
    "grad/clip_fraction",
    "lr",
    "throughput/chars_per_second",
)


def connect(uri: str) -> Any:
    """Return an MLflow client. MLflow is imported here, so that the other tests do not import it."""
    from src.tracking import mlflow_client

    return mlflow_client.connect(uri)


def metric_history(client: Any, run_id: str, name: str) -> list[tuple[int, float, int]]:
    points = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, name)]
    return sorted(points)


def artifact_text(client: Any, run: Any, name: str) -> str:
    import mlflow

    return str(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}"))


def only_run(client: Any, experiment: str) -> Any:
    """Return the only run of an experiment."""
    found = client.get_experiment_by_name(experiment)
    (run,) = client.search_runs([found.experiment_id])
    return run


def copy_event_log(trained: Any, folder: Path, experiment: str) -> Path:
    """Copy the shared run as a new run that is not uploaded."""
    shutil.copytree(trained.folder, folder)
    (folder / "sync_state.json").unlink()
    event_log = folder / "events.jsonl"
    start, *rest = event_log.read_text().splitlines(keepends=True)
    start_event = json.loads(start) | {"experiment": experiment}
    event_log.write_text(
        json.dumps(start_event) + "\n" + "".join(line for line in rest if '"model"' not in line)
    )
    return folder


def upload(folder: Path, uri: str, artifacts: str) -> SyncState:
    """Upload a run to a store."""
    from src.tracking import sync

    (folder / TRACKING).write_text(json.dumps({"uri": uri, "artifacts": artifacts}))
    sync.sync_all([folder])
    return SyncState.load(folder)


def upload_to_shared_store(trained: Any, folder: Path) -> SyncState:
    """Upload a run to the store of the shared run."""
    return upload(folder, trained.uri, (trained.outputs / "artifacts").as_uri())
