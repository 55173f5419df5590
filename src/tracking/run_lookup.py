"""A trained model by the name that a person types: `latest`, `best`, an alias, a run id."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.atomic_io import write_text
from src.common.errors import InputError
from src.common.paths import absolute
from src.config.schema import PlacesConfig
from src.models import serialization
from src.tracking.run import delivered_as, find_untracked, store_of
from src.tracking.stale_runs import attend


@dataclass(frozen=True)
class Found:
    """A model, the configuration that trained it, and where to keep what is made with it.

    asked: as typed. name: of the run. val_loss: of its weights, None where it is not known.
    """

    asked: str
    run_id: str
    name: str
    val_loss: float | None
    model: serialization.Model
    config: dict[str, Any]
    places: PlacesConfig
    folder: Path | None  # of an untracked run

    def describe(self) -> str:
        """Which run it is, in one line."""
        parts = [f"run {self.run_id}"] if self.asked == self.run_id else [f"run={self.asked}: {self.run_id}"]
        parts += [self.name] if self.name not in ("", self.run_id) else []
        parts += [f"val/loss {self.val_loss:.4f}"] if self.val_loss is not None else []
        return ", ".join(parts)

    def keep(self, name: str, text: str) -> None:
        """Keep a text file with the run, `name` like `samples/written.txt`."""
        self.keep_file(name, lambda file: write_text(file, text))

    def keep_file(self, name: str, write: Callable[[Path], object]) -> None:
        """The same of any file, which `write` makes."""
        if self.folder is not None:
            write(self.folder / name)
            return
        from src.tracking import mlflow_store

        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / Path(name).name
            write(file)
            mlflow_store.log_file(self.run_id, store_of(self.places)["uri"], file, str(Path(name).parent))


def lookup(run: str, places: PlacesConfig) -> Found:
    """Find a run and load its model. Raises InputError when there is none, or none with a model.

    With tracking=none among the directories under outputs/runs, else in the tracking store.
    """
    attend(absolute(places.output_dir))
    if places.tracking.name == "none":
        return untracked(run, places)
    run_id = delivered_as(run, places)
    from src.tracking import mlflow_store  # slow to import

    uri = store_of(places)["uri"]
    found = mlflow_store.find(run_id, uri, places.tracking.experiment)
    info, loss = found.info, found.data.metrics.get("val/loss")
    with tempfile.TemporaryDirectory() as temporary:
        folder, config = mlflow_store.download(found, uri, Path(temporary))
        return Found(run, info.run_id, info.run_name, loss, serialization.load(folder), config, places, None)


def untracked(run: str, places: PlacesConfig) -> Found:
    """The same from the directory of an untracked run."""
    folder = find_untracked(run, places)
    try:
        config, scores = (
            dict(json.loads((folder / name).read_text(encoding="utf-8")))
            for name in ("config.json", "scores.json")
        )
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"run: expected a whole run, got a damaged one in {folder} ({error})") from error
    model = serialization.load(folder / "model")
    return Found(run, folder.name, "", scores.get("val/loss"), model, config, places, folder)
