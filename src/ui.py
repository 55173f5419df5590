"""`python -m src.ui`: serve the MLflow UI on the project's own database; print the address to open."""

from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    from src.common.files import absolute
    from src.tracking.mlflow_server import check_free, serve, url_host
    from src.tracking.run import tracking_store
    from src.tracking.sync_state import close_stale_runs_and_sync

    store = tracking_store(config)
    absolute(config.output_dir).mkdir(parents=True, exist_ok=True)
    if not store["uri"].startswith("http"):
        check_free(config.host, config.port)
    close_stale_runs_and_sync(absolute(config.output_dir))
    from src.tracking import mlflow_links
    from src.tracking.mlflow_client import connect, experiment_id

    experiment = experiment_id(connect(store["uri"]), config.tracking.experiment, store["artifacts"])
    page = f"/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"
    if store["uri"].startswith("http"):
        base = store["uri"].rstrip("/")
        print("\n".join([base + page, *lines_of_sweep(mlflow_links.latest(config, base))]))
        return
    base = f"http://{url_host(config.host)}:{config.port}"
    lines = [f"open {base}{page}  (Ctrl-C stops the server)"]
    lines += lines_of_sweep(mlflow_links.latest(config, base))
    log = absolute(config.output_dir) / "mlflow-server.log"
    serve(["--workers", "1"], config.host, config.port, log, store["uri"], "\n".join(lines))


def lines_of_sweep(latest: Any) -> list[str]:
    """Return the links to the latest sweep under a line that names it; none without a sweep."""
    if latest is None:
        return []
    name, links = latest
    return [f"the latest sweep, {name}:", *links.lines()]


if __name__ == "__main__":
    run_command("ui", "ui", main)
