"""A run's directory: what it reports, what it leaves, and the process that delivers it to MLflow."""

import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

from src.config import PlacesConfig
from src.errors import InputError
from src.files import cannot_write, write_json
from src.lab.environment import PROJECT
from src.lab.journal import Journal
from src.lab.parallel import available_cores


def absolute(path: str) -> Path:
    """A path as typed, relative to where the command was started."""
    return Path(path).expanduser().absolute()


def store_of(config: PlacesConfig) -> dict[str, str]:
    """Where runs are tracked: `uri` of the store, `artifacts` of a new experiment ("": its choice)."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        relative = uri.removeprefix("sqlite:///")
        if relative != uri and not relative.startswith("/"):
            uri = f"sqlite:///{absolute(relative)}"
        return {"uri": uri, "artifacts": ""}
    outputs = absolute(config.outputs)
    return {"uri": f"sqlite:///{outputs / 'mlflow.db'}", "artifacts": (outputs / "artifacts").as_uri()}


Curves = dict[str, list[tuple[int, float]]]  # metric name to (step, value) points

# MLflow needs some 5 seconds of processor time to get going. On a machine whose cores training all uses,
# that would slow a training of ten seconds by a third (measured: 33% at low priority, 11% at the lowest),
# so there it waits: until training is over, or has lasted so long that this is at most 3% of it.
MLFLOW_WAITS = 180.0


class Run:
    """One run: a fresh directory under outputs/runs with a journal, and the metric curves so far."""

    def __init__(self, config: PlacesConfig) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.folder = absolute(config.outputs) / "runs" / f"{stamp}-{secrets.token_hex(3)}"
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        self.config = config
        self.curves: Curves = {}
        self.journal = Journal(self.folder)
        self.deliverer: subprocess.Popen[bytes] | None = None
        self.deliver_after = inf  # never

    def start(
        self,
        name: str,
        params: dict[str, Any],
        tags: dict[str, str],
        data: dict[str, Any] | None,
        busy_cores: int,
    ) -> None:
        """Open the journal. busy_cores: how many cores training itself keeps busy."""
        write_json(self.folder / "config.json", asdict(self.config))
        tracking = self.config.tracking
        self.journal.start(tracking.experiment, name, params, tags, data)
        self.journal.artifact(self.folder / "config.json")
        if tracking.name == "mlflow":
            write_json(self.folder / "tracking.json", store_of(self.config))
            self.deliver_after = time.monotonic() + (0 if available_cores() > busy_cores else MLFLOW_WAITS)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        """Take what the trainer measured."""
        self.journal.metrics(step, metrics)
        for name, value in metrics.items():
            self.curves.setdefault(name, []).append((step, value))
        if time.monotonic() > self.deliver_after:
            self.deliver()

    def deliver(self) -> None:
        """Start the process that delivers the journal, if there is a tracker and it does not run yet."""
        if self.deliver_after == inf or self.deliverer is not None:
            return
        with (self.folder / "deliver.log").open("wb") as log:
            self.deliverer = subprocess.Popen(
                [sys.executable, "-m", "src.deliver", str(self.folder), "--beside"],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                process_group=0,  # Ctrl-C is for training; what is told must still arrive
            )

    def keep(self, file: Path, folder: str = "") -> None:
        """Keep a file of the directory with the tracked run."""
        self.journal.artifact(file, folder)

    def end(self, status: str, reason: str) -> str:
        """Close the journal, wait until it is delivered; returns the run's id.

        Without a tracker, or when it could not be reached, the id is the directory's name.
        """
        self.journal.end(status, reason)
        self.deliver()
        if self.deliverer is None or self.deliverer.stdin is None:
            return self.folder.name
        self.deliverer.stdin.close()
        if self.deliverer.wait() == 0:
            return str(json.loads((self.folder / "delivered.json").read_text(encoding="utf-8"))["run_id"])
        print(
            f"tracking: expected to reach {store_of(self.config)['uri']}, could not (reasons in "
            f"{self.folder / 'deliver.log'}); nothing is lost, deliver it later: "
            f"python -m src.deliver {self.folder}",
            file=sys.stderr,
        )
        return self.folder.name


def find_untracked(run: str, config: PlacesConfig, key: str = "run") -> Path:
    """`latest`, `best` or a directory's name among outputs/runs. Raises InputError when there is none.

    key: where the name was typed.
    """
    runs = absolute(config.outputs) / "runs"
    finished = sorted(file.parent for file in runs.glob("*/scores.json"))
    if run in ("latest", "best") and not finished:
        raise InputError(f"{key}: expected a finished run under {runs}, got none: train one first")
    if run == "latest":
        return max(finished, key=lambda f: (f / "scores.json").stat().st_mtime_ns)
    if run == "best":
        return min(finished, key=lambda f: json.loads((f / "scores.json").read_text())["val/loss"])
    folder = runs / run
    if Path(run).name != run or not (folder / "scores.json").exists():  # a name, not a path that leads away
        raise InputError(f"{key}: expected latest, best or the name of a run under {runs}, got {run}")
    return folder


def tracked_id(run: str, config: PlacesConfig) -> str:
    """The tracker's id of the run with that directory under outputs/runs; any other name as it is."""
    if Path(run).name != run:
        return run
    delivered = absolute(config.outputs) / "runs" / run / "delivered.json"
    if not delivered.exists():
        return run
    return str(json.loads(delivered.read_text(encoding="utf-8"))["run_id"]) or run
