"""`python -m src.ui`: the MLflow UI on the project's own database, and the address to open."""

import os
import socket
import sys
from typing import Any

from src.cli import launch
from src.errors import InputError


def body(config: Any) -> None:
    from src.lab.rundir import absolute, store_of

    store = store_of(config)
    absolute(config.outputs).mkdir(parents=True, exist_ok=True)
    from src.lab import tracking

    experiment = tracking.ensure_experiment(store["uri"], config.tracking.experiment, store["artifacts"])
    page = f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"
    if store["uri"].startswith("http"):
        print(store["uri"].rstrip("/") + page)
        return
    with socket.socket() as probe:
        if probe.connect_ex((config.host, config.port)) == 0:
            raise InputError(
                f"port: expected a free port, got {config.port}, where something answers already"
            )
    print(f"open http://{config.host}:{config.port}{page}  (Ctrl-C ends the server)", flush=True)
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store["uri"]]
    server += ["--host", config.host, "--port", str(config.port), "--workers", "1"]
    os.execv(sys.executable, server)


if __name__ == "__main__":
    launch("ui", "ui", body)
