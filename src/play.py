"""`python -m src.play`: a page on this machine on which two trained runs write side by side."""

from typing import Any

from src.cli.main import launch


def body(config: Any) -> None:
    from src.tracking.mlflow_server import check_free
    from src.tracking.run_store import RunList

    check_free(config.host, config.port)
    wait = "" if config.tracking.name == "none" else " (MLflow takes some seconds to start)"
    print(f"reading the list of runs{wait}", flush=True)
    runs = RunList(config)
    left, right = runs.find("left", config.left), runs.find("right", config.right)
    from src.playground import app

    app.serve(config, runs, left, right)


if __name__ == "__main__":
    launch("play", "play", body)
