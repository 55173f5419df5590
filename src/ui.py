"""`python -m src.ui`: the MLflow UI on the project's own database, and the address to open."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import Any

from src.cli import launch
from src.errors import InputError


def body(config: Any) -> None:
    from src.lab.rundir import absolute, store_of

    store = store_of(config)
    absolute(config.outputs).mkdir(parents=True, exist_ok=True)
    if not store["uri"].startswith("http") and answers(config.host, config.port):
        raise InputError(f"port: expected a free port, got {config.port}, where something answers already")
    from src.lab import addresses, runs

    experiment = runs.ensure_experiment(store["uri"], config.tracking.experiment, store["artifacts"])
    page = f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"
    if store["uri"].startswith("http"):
        base = store["uri"].rstrip("/")
        print("\n".join([base + page, *lines_of_sweep(addresses.latest(config, base))]))
        return
    base = f"http://{config.host}:{config.port}"
    lines = [f"open {base}{page}  (Ctrl-C ends the server)"]
    lines += lines_of_sweep(addresses.latest(config, base))
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store["uri"]]
    command += ["--host", config.host, "--port", str(config.port), "--workers", "1"]
    log = absolute(config.outputs) / "mlflow-server.log"
    with log.open("wb") as file, contextlib.suppress(KeyboardInterrupt):
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
        while server.poll() is None and not answers(config.host, config.port):
            time.sleep(0.2)
        if server.poll() is None:
            print("\n".join(lines), flush=True)
        if server.wait() != 0:
            raise InputError(f"expected the MLflow server to run, it ended: the reason is in {log}")


def lines_of_sweep(found: Any) -> list[str]:
    """The addresses of the latest sweep, under a line that names it; none without one."""
    if found is None:
        return []
    name, shown = found
    return [f"the latest sweep, {name}:", *shown.lines()]


def answers(host: str, port: int) -> bool:
    """Does anything listen there?"""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


if __name__ == "__main__":
    launch("ui", "ui", body)
