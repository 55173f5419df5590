"""Generation for the page: the request, and the generated text in pieces."""

import threading
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from src.common.console import pluralize
from src.config.constraints import Constraint, fields_of
from src.config.schema import PlayConfig
from src.generation.sampling import sample
from src.models.serialization import TrainedModel
from src.tracking.run_record import RunRecord
from src.tracking.run_store import RunStore

TIME_SLICE = 0.04  # seconds of computing at a time: what is shown grows smoothly, and a stop is heard
LEADING_SETTINGS = ("model", "model.layers", "hidden", "seq_len", "lr", "clip", "data")
# Settings that do not affect the text that a model generates.
HIDDEN_SETTINGS = ("workers", "log_every", "prompt", "length", "temperature")


@dataclass(frozen=True)
class GenerationRequest:
    """Settings of a generation. Names and ranges are those of the keys of conf/play.yaml."""

    prompt: str
    temperature: float
    top_k: int | None
    top_p: float | None
    length: int
    seed: int


KEYS = [f.name for f in fields(GenerationRequest)]
CONSTRAINTS: dict[str, Constraint] = {key: fields_of(PlayConfig)[key].validator for key in KEYS}


def validation_error(key: str, value: Any) -> str | None:
    """Return why a field of GenerationRequest cannot have this value, in one line; None if it can."""
    constraint = CONSTRAINTS[key]
    whole = constraint.kind == "an integer" and isinstance(value, float) and value.is_integer()
    if constraint.is_satisfied_by(int(value) if whole else value):  # a browser sends 5.0 for 5
        return None
    words = constraint.describe().replace("or null for", "or nothing for")
    return f"expected {words}, got {'nothing' if value is None else f'{value:g}'}"


def parse_request(typed: dict[str, Any]) -> GenerationRequest:
    """Convert the values of the page's controls, all of them valid."""
    integers = {k: int(v) for k, v in typed.items() if CONSTRAINTS[k].kind == "an integer" and v is not None}
    return GenerationRequest(**{**typed, **integers})


class TextStream:
    """A text in the making. Raises UserError for a prompt that the model cannot read."""

    def __init__(self, model: TrainedModel, request: GenerationRequest) -> None:
        settings = asdict(request)
        self.characters = sample(model, rng=np.random.default_rng(settings.pop("seed")), **settings)
        self.written = 0
        self.seconds = 0.0  # spent computing by the thread itself, so that neighbors do not count
        self.ended = False

    def next_chunk(self, most: int | None) -> str:
        """Return the next characters: at most `most`, and no more than come in a slice of time."""
        chunk: list[str] = []
        began, until = time.thread_time(), time.monotonic() + TIME_SLICE
        while (most is None or len(chunk) < most) and time.monotonic() < until:
            character = next(self.characters, None)
            if character is None:
                self.ended = True
                break
            chunk.append(character)
        self.written += len(chunk)
        self.seconds += time.thread_time() - began
        return "".join(chunk)

    @property
    def rate(self) -> str:
        """Number of generated characters, and their number per second."""
        count = pluralize(self.written, "character")
        return f"{count}, computed at {self.written / self.seconds:,.0f} a second" if self.written else count


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
