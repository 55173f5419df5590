"""`python -m src.server`: run an MLflow server with a database, for sweeps whose jobs share no folder."""

import shlex
from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    """Run an MLflow server until Ctrl-C; print its address and how to use it in a run.

    Args:
        config: Validated config of the command. Without `backend_store_uri`, the database is server.db in
            `output_dir`.

    Raises:
        UserError: The port is in use, the database cannot be used, or the server ended by itself.
    """
    from src.common.files import absolute, sqlite_uri
    from src.tracking.mlflow_server import check_database, check_free, serve, url_host

    outputs = absolute(config.output_dir)
    check_free(config.host, config.port)
    if config.backend_store_uri:
        check_database(config.backend_store_uri)
    outputs.mkdir(parents=True, exist_ok=True)
    backend = config.backend_store_uri or sqlite_uri(outputs / "server.db")
    files = outputs / "server-artifacts"
    options = ["--serve-artifacts", "--artifacts-destination", files.as_uri()]
    options += ["--workers", "2" if config.backend_store_uri else "1"]
    options += ["--allowed-hosts", config.allowed_hosts] if config.allowed_hosts else []
    log = outputs / "server.log"
    address = f"http://{url_host(config.host)}:{config.port}"
    message = (
        f"open {address}  (Ctrl-C stops the server; its files: {files}, its log: {log})\n"
        f"on every machine: python -m src.train {shlex.quote(f'tracking.uri={address}')} ..."
    )
    serve(options, config.host, config.port, log, backend, message)


if __name__ == "__main__":
    run_command("server", "server", main)
