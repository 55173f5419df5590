"""The finished runs of a store, for a person to choose from, and their models once they are wanted."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.common.paths import absolute
from src.config.schema import PlacesConfig
from src.models.serialization import Model
from src.tracking import event_log
from src.tracking.run import delivered_as, find_untracked, store_of
from src.tracking.run_lookup import lookup

# What a reader asks about a run first. What differs between two runs is shown behind it.
FIRST = ("model", "model.layers", "hidden", "seq_len", "lr", "clip", "data")
# What says nothing of how a run writes.
UNTOLD = ("workers", "log_every", "prompt", "length", "temperature")


@dataclass(frozen=True)
class Listed:
    """A finished run. settings: its parameters under their flat names. aliases: of its registered model."""

    run_id: str
    name: str
    val_loss: float | None
    settings: dict[str, str]
    aliases: tuple[str, ...] = ()

    @property
    def score(self) -> str:
        return "no val/loss" if self.val_loss is None else f"val/loss {self.val_loss:.4f}"

    @property
    def line(self) -> str:
        """The run in one line of a list."""
        return " · ".join([self.name, self.score, *self.aliases, self.run_id])


def told(run: Listed, other: Listed | None) -> list[tuple[str, bool]]:
    """A run's settings, like `hidden=64`, and whether each differs from the other run's."""
    theirs = other.settings if other else run.settings
    keys = [key for key in dict.fromkeys([*run.settings, *theirs]) if key not in UNTOLD]
    changed = {key for key in keys if run.settings.get(key) != theirs.get(key)}
    shown = [key for key in FIRST if key in keys] + [k for k in keys if k in changed and k not in FIRST]
    return [(f"{key}={run.settings.get(key, '-')}", key in changed) for key in shown]


class RunList:
    """The runs under the places of a config."""

    def __init__(self, places: PlacesConfig) -> None:
        self.places = places
        self.tracked = places.tracking.name != "none"
        self.models: dict[str, Model] = {}
        self.lock = threading.Lock()

    def all(self) -> list[Listed]:
        """Every finished run, newest first. Raises InputError when the store is out of reach."""
        if not self.tracked:
            scored = (absolute(self.places.output_dir) / "runs").glob("*/scores.json")
            newest = sorted(scored, key=lambda file: file.stat().st_mtime_ns, reverse=True)
            return [untracked(file.parent) for file in newest]
        from src.tracking import mlflow_store  # slow to import

        uri = store_of(self.places)["uri"]
        found = mlflow_store.finished(uri, self.places.tracking.experiment)
        aliases = mlflow_store.registered(uri) if found else {}
        return [tracked(run, aliases.get(run.info.run_id, [])) for run in found]

    def find(self, key: str, run: str) -> Listed:
        """The run that `best`, `latest` or an id means. key: of the config, which the InputError names."""
        try:
            if not self.tracked:
                return untracked(find_untracked(run, self.places))
            from src.tracking import mlflow_store

            uri, experiment = store_of(self.places)["uri"], self.places.tracking.experiment
            return tracked(mlflow_store.find(delivered_as(run, self.places), uri, experiment), [])
        except InputError as error:
            if run in ("best", "latest"):  # there is no run at all
                raise
            raise InputError(str(error).replace("run: ", f"{key}: ", 1)) from error

    def model(self, run_id: str) -> Model:
        """A run's model, read once. Raises InputError for a run that has none, or a damaged one."""
        with self.lock:  # two columns may ask at once
            if run_id not in self.models:
                self.models[run_id] = lookup(run_id, self.places).model
            return self.models[run_id]


def tracked(run: Any, aliases: list[str]) -> Listed:
    """A run in MLflow."""
    loss = run.data.metrics.get("val/loss")
    return Listed(run.info.run_id, run.info.run_name, loss, dict(run.data.params), tuple(aliases))


def untracked(folder: Path) -> Listed:
    """A run's own directory; the first record of its journal is what MLflow would have been told.

    A damaged one is listed under its directory's name: whoever chooses it is told what it lacks.
    """
    try:
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        start = next(record for _, record in event_log.read(folder, 0))
        settings = {key: str(value) for key, value in start["params"].items()}
        return Listed(folder.name, start["name"], scores["val/loss"], settings)
    except (OSError, ValueError, KeyError, StopIteration, InputError):
        return Listed(folder.name, folder.name, None, {})
