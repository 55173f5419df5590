"""Cost of an outage of the MLflow server for a run, and completeness of the data afterwards.

    make bench          (or python -m benchmarks.outage)

A real `mlflow server` is killed during a training run and restarted while training continues; then Ctrl-C
ends the training. Measured: the longest pause between two metric points before the server is killed and after
it (points are logged every ten steps, with evaluations between them), how long the end of training waits for
the upload, and the missing or duplicate metric points, artifacts and models on the server. Also eight runs
that start at the same time without a database. Writes benchmarks/outage.json.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from src.common.files import PROJECT, write_json
from src.tracking import event_log
from src.tracking.environment import environment
from src.tracking.mlflow_server import run_server
from src.tracking.sync_state import SyncState

RESULT = Path(__file__).with_name("outage.json")
# Small and long; one worker, so that the sync has a core.
TRAINING = ("hidden=32", "max_epochs=100000", "patience=null", "eval_every=500", "log_every=10", "workers=1")
SHORT = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=2", "length=20", "workers=1")
TIME_LIMIT = 1200.0  # seconds of the time limit
AWAY = 5.0  # seconds of training without a server


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `python -m src.train ARGUMENTS` with its output in `log`; an unread pipe would block it."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "src.train", *arguments],
            cwd=PROJECT,
            env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            stdout=file,
            stderr=file,
        )


def wait_for(description: str, condition: Callable[[], Any]) -> None:
    """Wait for a condition. Raises TimeoutError."""
    deadline = time.monotonic() + TIME_LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected {description} within {TIME_LIMIT:g} s")
        time.sleep(0.05)


def outage(root: Path, data: Path) -> dict[str, Any]:
    """Run a training through an outage and return the measurements. data: directory of prepared corpora."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    options = ["--workers", "1", "--serve-artifacts", "--artifacts-destination", (root / "files").as_uri()]
    database, uri = f"sqlite:///{root / 'server.db'}", f"http://127.0.0.1:{port}"
    with run_server(options, "127.0.0.1", port, root / "first.log", database) as server:
        log = root / "output.log"
        run = start(log, *TRAINING, f"tracking.uri={uri}", f"output_dir={root}", f"data_dir={data}")
        try:
            wait_for("a run", lambda: list(root.glob("runs/*/events.jsonl")))
            (folder,) = root.glob("runs/*")
            wait_for("an upload", lambda: SyncState.load(folder).offset > 3000)
            os.killpg(server.pid, signal.SIGKILL)
            killed = event_log.now()
        except BaseException:
            run.kill()
            raise
    try:
        time.sleep(AWAY)
        synced_offset = SyncState.load(folder).offset
        with run_server(options, "127.0.0.1", port, root / "second.log", database):
            back = event_log.now()
            wait_for("an upload to the second server", lambda: SyncState.load(folder).offset > synced_offset)
            caught_up = event_log.now()
            run.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
            run.wait(TIME_LIMIT)
            end_seconds = time.monotonic() - interrupted
            report = compare(folder, uri)
    finally:
        run.kill()
        run.wait()
    times = [r["time"] for _, r in event_log.read_lines(folder, 0) if "train/loss" in r.get("values", {})]
    pauses = [(after - before, after) for before, after in pairwise(times)]
    return {
        "status": run.returncode,
        "output": log.read_text(encoding="utf-8").splitlines()[-1],
        "longest_pause_before_seconds": max(p for p, at in pauses if at <= killed) / 1000,
        "longest_pause_from_the_outage_on_seconds": max(p for p, at in pauses if at > killed) / 1000,
        "server_away_seconds": (back - killed) / 1000,
        "uploaded_again_after_seconds": (caught_up - back) / 1000,
        "end_of_the_run_took_seconds": end_seconds,
        **report,
    }


def compare(folder: Path, uri: str) -> dict[str, Any]:
    """Count the differences between the event log and the store."""
    from src.tracking.mlflow_client import connect

    client, run_id = connect(uri), SyncState.load(folder).run_id
    records = [record for _, record in event_log.read_lines(folder, 0)]
    logged = Counter(
        (name, r["step"], r["time"], str(float(value)))  # as text, because nan is unequal to itself
        for r in records
        if r["kind"] == "metrics"
        for name, value in r["values"].items()
    )
    names = {name for name, *_ in logged}
    synced = Counter(
        (name, m.step, m.timestamp, str(m.value))
        for name in names
        for m in client.get_metric_history(run_id, name)
    )
    files = {str(Path(r["folder"]) / Path(r["path"]).name) for r in records if r["kind"] == "artifact"} | {
        r["name"] for r in records if r["kind"] == "table"
    }
    stored_files = Counter(artifacts(client, run_id))
    run = client.get_run(run_id)
    same_name = client.search_runs([run.info.experiment_id], f"tags.run_dir = '{folder.name}'")
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "run_status": run.info.status,
        "runs": len(same_name),
        "points": sum(logged.values()),
        "points_lost": sum((logged - synced).values()),
        "points_twice": sum((synced - logged).values()),
        "artifacts": len(files),
        "artifacts_lost": len(files - stored_files.keys()),
        "artifacts_twice": sum(stored_files.values()) - len(stored_files.keys() & files),
        "models": len(models),
    }


def artifacts(client: Any, run_id: str, folder: str = "") -> list[str]:
    """Return the paths of the artifacts of a run."""
    paths: list[str] = []
    for entry in client.list_artifacts(run_id, folder or None):
        paths += artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return paths


def at_once(root: Path, data: Path, count: int = 8) -> dict[str, Any]:
    """Start runs at the same time without a parent run and without a database."""
    uri = f"sqlite:///{root / 'mlflow.db'}"
    start_time = time.monotonic()
    logs = [root / f"output-{k}.log" for k in range(count)]
    path_overrides = (f"output_dir={root}", f"data_dir={data}")
    runs = [start(log, *SHORT, f"seed={k}", *path_overrides) for k, log in enumerate(logs)]
    try:
        for run in runs:
            run.wait(2 * TIME_LIMIT)
    finally:
        for run in runs:
            run.kill()
    seconds = time.monotonic() - start_time
    folders = sorted(root.glob("runs/*"))
    report = [compare(folder, uri) for folder in folders]
    return {
        "finished": sum(run.returncode == 0 for run in runs),
        "output": [log.read_text() for run, log in zip(runs, logs, strict=True) if run.returncode],
        "uploaded": sum(each["run_status"] == "FINISHED" for each in report),
        "points": sum(each["points"] for each in report),
        "points_lost": sum(each["points_lost"] for each in report),
        "points_twice": sum(each["points_twice"] for each in report),
        "models": sum(each["models"] for each in report),
        "seconds": seconds,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        subprocess.run([sys.executable, "-m", "src.preprocess", f"data_dir={data}"], cwd=PROJECT, check=True)
        result: dict[str, Any] = {}
        for name, measure in (("outage", outage), ("eight_at_once", at_once)):
            root = Path(temporary) / name
            root.mkdir()
            result[name] = measure(root, data)
            print(name, json.dumps(result[name], indent=2), flush=True)
    machine = environment()
    write_json(RESULT, {**result, "processor": machine["processor"], "cores": machine["cores"]})


if __name__ == "__main__":
    main()
