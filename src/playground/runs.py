"""The runs of the page: how each is shown, and its model."""

import threading

from src.models.serialization import TrainedModel
from src.tracking.run_record import RunRecord
from src.tracking.run_store import RunStore

LEADING_SETTINGS = ("model", "model.layers", "hidden", "seq_len", "lr", "clip", "data")
# What does not change the text that a model generates.
HIDDEN_SETTINGS = ("workers", "log_every", "prompt", "length", "temperature")


def score(run: RunRecord) -> str:
    """The validation loss of a run, for people."""
    return "no val/loss" if run.val_loss is None else f"val/loss {run.val_loss:.4f}"


def option_label(run: RunRecord) -> str:
    """The run in one line of the list."""
    return " · ".join([run.name, score(run), *run.aliases, run.run_id])


def settings_diff(run: RunRecord, other: RunRecord) -> list[tuple[str, bool]]:
    """List a run's settings, like `hidden=64`, and whether each differs from the other run's.

    LEADING_SETTINGS come first; of the others only those that differ are listed.
    """
    keys = [key for key in dict.fromkeys([*run.params, *other.params]) if key not in HIDDEN_SETTINGS]
    changed = {key for key in keys if run.params.get(key) != other.params.get(key)}
    shown = [key for key in LEADING_SETTINGS if key in keys]
    shown += [key for key in keys if key in changed and key not in LEADING_SETTINGS]
    return [(f"{key}={run.params.get(key, '-')}", key in changed) for key in shown]


class ModelCache:
    """The models of a store's runs, each read once."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.models: dict[str, TrainedModel] = {}
        self.lock = threading.Lock()  # two columns may ask at once

    def load(self, run: RunRecord) -> TrainedModel:
        """Load a run's model. Raises UserError for a run that has none, or a damaged one."""
        with self.lock:
            if run.run_id not in self.models:
                self.models[run.run_id] = self.store.load_model(run)
            return self.models[run.run_id]
