"""`python -m src.server`: an MLflow server with a database, for sweeps whose jobs share no folder."""

import signal
from contextlib import suppress
from typing import Any

from src.cli.main import Invocation, launch


def main(config: Any, _: Invocation) -> None:
    from src.common.paths import absolute
    from src.tracking.mlflow_server import check_database, check_free, ended, reachable, running

    outputs = absolute(config.output_dir)
    check_free(config.host, config.port)
    if config.backend_store_uri:
        check_database(config.backend_store_uri)
    outputs.mkdir(parents=True, exist_ok=True)
    sqlite = f"sqlite:///{outputs / 'server.db'}"
    files = outputs / "server-artifacts"
    options = ["--serve-artifacts", "--artifacts-destination", files.as_uri()]
    options += ["--workers", "2" if config.backend_store_uri else "1"]
    options += ["--allowed-hosts", config.allowed_hosts] if config.allowed_hosts else []
    log = outputs / "server.log"
    address = f"http://{reachable(config.host)}:{config.port}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us so ends the server, too
    with suppress(KeyboardInterrupt):
        with running(options, config.host, config.port, log, config.backend_store_uri or sqlite) as server:
            print(f"open {address}  (Ctrl-C ends the server; its files: {files}, its log: {log})")
            print(f"on every machine: python -m src.train tracking.uri={address} ...", flush=True)
            server.wait()
        raise ended(log)


if __name__ == "__main__":
    launch("server", "server", main)
