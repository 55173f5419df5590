"""`python -m src.play`: a page on this machine on which two trained runs write side by side."""

from typing import Any

from src.cli import launch


def body(config: Any) -> None:
    from src.lab.play.runlist import RunList
    from src.lab.tracking.ports import check_free

    check_free(config.host, config.port)
    wait = "" if config.tracking.name == "none" else " (MLflow takes some seconds to start)"
    print(f"reading the list of runs{wait}", flush=True)
    runs = RunList(config)
    left, right = runs.find("left", config.left), runs.find("right", config.right)
    from src.lab.play import playground

    playground.serve(config, runs, left, right)


if __name__ == "__main__":
    launch("play", "play", body)
