"""`python -m src.play`: serve a page that shows text of two trained runs side by side."""

from typing import Any

from src.cli.main import Invocation, run_command


def main(config: Any, _: Invocation) -> None:
    """Find the two runs that the config names, and serve the page until Ctrl-C.

    Args:
        config: Validated config of the command (PlayConfig).

    Raises:
        UserError: The port is in use, or there is no such run.
    """
    from src.tracking.mlflow_server import check_free
    from src.tracking.run_store import open_store

    check_free(config.host, config.port)
    print("reading the list of runs", flush=True)
    store = open_store(config)
    left, right = store.find(config.left, "left"), store.find(config.right, "right")
    for name, run in ((config.left, left), (config.right, right)):
        print(run.describe(name), flush=True)
    from src.playground import app

    app.serve(config, store, left, right)


if __name__ == "__main__":
    run_command("play", "play", main)
