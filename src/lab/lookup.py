"""A trained model by the name that a person types: `latest`, `best`, a run id."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.config import PlacesConfig
from src.files import write_text
from src.lab import weights
from src.lab.rundir import find_untracked, store_of


@dataclass(frozen=True)
class Found:
    """A model, the configuration that trained it, and where to keep what is made with it."""

    run_id: str
    model: weights.Model
    config: dict[str, Any]
    places: PlacesConfig
    folder: Path | None  # of an untracked run

    def keep(self, name: str, text: str) -> None:
        """Keep a text file with the run, `name` like `samples/written.txt`."""
        if self.folder is not None:
            write_text(self.folder / name, text)
            return
        from src.lab import runs

        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / Path(name).name
            write_text(file, text)
            runs.log_file(self.run_id, store_of(self.places)["uri"], file, str(Path(name).parent))


def lookup(run: str, places: PlacesConfig) -> Found:
    """Find a run and load its model. Raises InputError when there is none, or none with a model.

    With tracking=none among the directories under outputs/runs, else in the tracking store.
    """
    if places.tracking.name == "none":
        folder = find_untracked(run, places)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return Found(folder.name, weights.load(folder / "model"), config, places, folder)
    from src.lab import runs  # slow to import

    uri = store_of(places)["uri"]
    found = runs.find(run, uri, places.tracking.experiment)
    with tempfile.TemporaryDirectory() as temporary:
        model_folder, config = runs.download(found, uri, Path(temporary))
        return Found(found.info.run_id, weights.load(model_folder), config, places, None)
