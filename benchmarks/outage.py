"""What an outage of the tracker costs a run, and what arrives in the end.

    make bench          (or python -m benchmarks.outage)

A real `mlflow server` is killed in the middle of a training and comes back while training continues; then the
training is ended by Ctrl-C. Measured: the longest pause between two points of the training curves before the
server is killed and from then on (points come every ten steps, evaluations between them), how long the
training's end waited for the delivery, and how many metric points, artifacts and models are missing from the
server or there twice. Also eight runs that start at the same instant against a database that does not
exist. Writes benchmarks/outage.json.
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
# Small and long; one worker, so that the delivery has a core from the beginning.
TRAINING = ("hidden=32", "max_epochs=100000", "patience=null", "eval_every=500", "log_every=10", "workers=1")
SHORT = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=2", "length=20", "workers=1")
PATIENCE = 1200.0  # seconds for anything that is waited for here
AWAY = 5.0  # seconds of training without a server


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`python -m src.train ARGUMENTS`. log: for all that it says; a pipe that nobody reads would stop it."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "src.train", *arguments],
            cwd=PROJECT,
            env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            stdout=file,
            stderr=file,
        )


def wait_for(what: str, there: Callable[[], Any]) -> None:
    """Raises TimeoutError when it does not come."""
    until = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > until:
            raise TimeoutError(f"expected {what} within {PATIENCE:g} s")
        time.sleep(0.05)


def outage(root: Path, data: Path) -> dict[str, Any]:
    """A run through an outage: the figures, and how its command ended. data: folder of prepared corpora."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--workers", "1", "--serve-artifacts", "--artifacts-destination", (root / "files").as_uri()]
    database, uri = f"sqlite:///{root / 'server.db'}", f"http://127.0.0.1:{port}"
    with run_server(options, "127.0.0.1", port, root / "first.log", database) as server:
        log = root / "said.log"
        run = start(log, *TRAINING, f"tracking.uri={uri}", f"output_dir={root}", f"data_dir={data}")
        try:
            wait_for("a run", lambda: list(root.glob("runs/*/events.jsonl")))
            (folder,) = root.glob("runs/*")
            wait_for("a delivery", lambda: SyncState.load(folder).offset > 3000)
            os.killpg(server.pid, signal.SIGKILL)
            killed = event_log.now()
        except BaseException:
            run.kill()
            raise
    try:
        time.sleep(AWAY)
        there = SyncState.load(folder).offset
        with run_server(options, "127.0.0.1", port, root / "second.log", database):
            back = event_log.now()
            wait_for("a delivery to the second server", lambda: SyncState.load(folder).offset > there)
            caught_up = event_log.now()
            run.send_signal(signal.SIGINT)
            asked = time.monotonic()
            run.wait(PATIENCE)
            ended = time.monotonic() - asked
            found = compare(folder, uri)
    finally:
        run.kill()
        run.wait()
    times = [r["time"] for _, r in event_log.read_lines(folder, 0) if "train/loss" in r.get("values", {})]
    pauses = [(after - before, after) for before, after in pairwise(times)]
    return {
        "status": run.returncode,
        "said": log.read_text(encoding="utf-8").splitlines()[-1],
        "longest_pause_before_seconds": max(p for p, at in pauses if at <= killed) / 1000,
        "longest_pause_from_the_outage_on_seconds": max(p for p, at in pauses if at > killed) / 1000,
        "server_away_seconds": (back - killed) / 1000,
        "delivered_again_after_seconds": (caught_up - back) / 1000,
        "end_of_the_run_took_seconds": ended,
        **found,
    }


def compare(folder: Path, uri: str) -> dict[str, Any]:
    """Count the differences between the event log and the store."""
    from src.tracking.mlflow_client import connect

    client, run_id = connect(uri), SyncState.load(folder).run_id
    records = [record for _, record in event_log.read_lines(folder, 0)]
    logged = Counter(
        (name, r["step"], r["time"], str(float(value)))  # text: nan is unequal to itself
        for r in records
        if r["kind"] == "metrics"
        for name, value in r["values"].items()
    )
    names = {name for name, *_ in logged}
    there = Counter(
        (name, m.step, m.timestamp, str(m.value))
        for name in names
        for m in client.get_metric_history(run_id, name)
    )
    files = {str(Path(r["folder"]) / Path(r["path"]).name) for r in records if r["kind"] == "artifact"} | {
        r["name"] for r in records if r["kind"] == "table"
    }
    kept = Counter(artifacts(client, run_id))
    run = client.get_run(run_id)
    same_name = client.search_runs([run.info.experiment_id], f"tags.run_dir = '{folder.name}'")
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "run_status": run.info.status,
        "runs": len(same_name),
        "points": sum(logged.values()),
        "points_lost": sum((logged - there).values()),
        "points_twice": sum((there - logged).values()),
        "artifacts": len(files),
        "artifacts_lost": len(files - kept.keys()),
        "artifacts_twice": sum(kept.values()) - len(kept.keys() & files),
        "models": len(models),
    }


def artifacts(client: Any, run_id: str, folder: str = "") -> list[str]:
    """The paths of the run's files."""
    found: list[str] = []
    for entry in client.list_artifacts(run_id, folder or None):
        found += artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def at_once(root: Path, data: Path, count: int = 8) -> dict[str, Any]:
    """Runs that start at the same instant, without a parent, against a database that is not there yet."""
    uri = f"sqlite:///{root / 'mlflow.db'}"
    began = time.monotonic()
    logs = [root / f"said-{k}.log" for k in range(count)]
    places = (f"output_dir={root}", f"data_dir={data}")
    runs = [start(log, *SHORT, f"seed={k}", *places) for k, log in enumerate(logs)]
    try:
        for run in runs:
            run.wait(2 * PATIENCE)
    finally:
        for run in runs:
            run.kill()
    took = time.monotonic() - began
    folders = sorted(root.glob("runs/*"))
    found = [compare(folder, uri) for folder in folders]
    return {
        "finished": sum(run.returncode == 0 for run in runs),
        "said": [log.read_text() for run, log in zip(runs, logs, strict=True) if run.returncode],
        "delivered": sum(each["run_status"] == "FINISHED" for each in found),
        "points": sum(each["points"] for each in found),
        "points_lost": sum(each["points_lost"] for each in found),
        "points_twice": sum(each["points_twice"] for each in found),
        "models": sum(each["models"] for each in found),
        "seconds": took,
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
    around = environment()
    write_json(RESULT, {**result, "processor": around["processor"], "cores": around["cores"]})


if __name__ == "__main__":
    main()
