"""`python -m src.ui`: serve the MLflow UI on the project's own database; print the address to open."""

from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    """Serve the MLflow UI, and print its address and the links of the latest sweep.

    With `tracking.uri` of a running server, only print the address and the links.

    Args:
        config: Validated config of the command (UiConfig).

    Raises:
        UserError: The port is in use, the store does not answer, or the server ended by itself.
    """
    from src.common.files import absolute
    from src.tracking.mlflow_server import check_free, serve, url_host
    from src.tracking.run import tracking_store
    from src.tracking.sync_state import close_stale_runs_and_sync

    store, outputs = tracking_store(config), absolute(config.output_dir)
    outputs.mkdir(parents=True, exist_ok=True)
    running = store["uri"].startswith("http")
    if not running:
        check_free(config.host, config.port)
    close_stale_runs_and_sync(outputs)
    from src.tracking import mlflow_links
    from src.tracking.mlflow_client import connected, experiment_id

    with connected(store["uri"]) as client:
        experiment = experiment_id(client, config.tracking.experiment, store["artifacts"])
        mlflow_links.save_overview(client, experiment)
    base = store["uri"].rstrip("/") if running else f"http://{url_host(config.host)}:{config.port}"
    page = mlflow_links.view_link(base, experiment, mlflow_links.OVERVIEW, "CHART")
    lines = [page if running else f"open {page}  (Ctrl-C stops the server)"]
    if latest := mlflow_links.latest(config, base):
        name, links = latest
        lines += [f"the latest sweep, {name}:", *links.lines()]
    message = "\n".join(lines)
    if running:
        print(message)
    else:
        log = outputs / "mlflow-server.log"
        serve(["--workers", "1"], config.host, config.port, log, store["uri"], message)


if __name__ == "__main__":
    run_command("ui", "ui", main)
