"""Generation for the page: the settings, and the generated text in pieces."""

import threading
import time
from typing import Any

import attrs
import numpy as np

from src.common.console import pluralize
from src.common.process import single_blas_thread
from src.config.constraints import Constraint, fields_of
from src.config.schema import PlayConfig
from src.generation.sampling import sample, scaled_probabilities
from src.models.serialization import TrainedModel
from src.rnn.step import Stepper
from src.tracking.directory_store import DirectoryStore
from src.tracking.run_record import RunRecord

NUM_LIKELIEST = 5  # characters whose probability is shown
STATE_SPACING = 500  # characters between two states that are kept, to read a text again from there
TIME_SLICE = 0.04  # seconds per computation: the text grows smoothly, and a stop takes effect soon
LEADING_SETTINGS = ("model", "model.layers", "hidden", "seq_len", "lr", "clip", "data")
# Settings that do not affect the text that a model generates.
HIDDEN_SETTINGS = ("workers", "log_every", "prompt", "length", "temperature")


# Keys of PlayConfig: the settings of a generation, which the page has controls for.
KEYS = ("prompt", "temperature", "top_k", "top_p", "length", "seed")
CONSTRAINTS: dict[str, Constraint] = {key: fields_of(PlayConfig)[key].validator for key in KEYS}


def validation_error(key: str, value: Any) -> str | None:
    """Return why a setting of a generation cannot have a value.

    Args:
        key: One of KEYS.
        value: Value of the page's control; None for an empty one.

    Returns:
        The reason in one line; None if the value is valid.
    """
    constraint = CONSTRAINTS[key]
    whole = constraint.kind == "an integer" and isinstance(value, float) and value.is_integer()
    if constraint.is_satisfied_by(int(value) if whole else value):  # a browser sends 5.0 for 5
        return None
    words = constraint.describe().replace("or null for", "or nothing for")
    return f"expected {words}, got {'nothing' if value is None else f'{value:g}'}"


def parse_request(config: PlayConfig, typed: dict[str, Any]) -> PlayConfig:
    """Return the config of the command with the values of the page's controls.

    Args:
        config: Validated config of the command.
        typed: One of KEYS to value, all of them valid (`validation_error`).

    Returns:
        The changed copy, with whole numbers as integers, and no prompt for an empty one.
    """
    integers = {k: int(v) for k, v in typed.items() if CONSTRAINTS[k].kind == "an integer" and v is not None}
    return attrs.evolve(config, **{**typed, **integers, "prompt": typed["prompt"] or None})


class TextStream:
    """A text while it is generated.

    Args:
        model: The trained network with its vocabulary.
        request: Prompt and settings of the generation; without a prompt, that of the model is used.

    Attributes:
        prompt: Beginning of the text.

    Raises:
        UserError: The vocabulary lacks a character of the prompt.
    """

    def __init__(self, model: TrainedModel, request: PlayConfig) -> None:
        self.prompt = model.prompt if request.prompt is None else request.prompt
        settings = {key: getattr(request, key) for key in KEYS} | {"prompt": self.prompt}
        self.characters = sample(model, rng=np.random.default_rng(settings.pop("seed")), **settings)
        self.written = 0  # characters
        self.seconds = 0.0  # processor time of the thread, so that other threads do not count
        self.ended = False  # whether the text has its full length

    def next_chunk(self, most: int | None) -> str:
        """Return the next characters, as many as one slice of time (TIME_SLICE) allows.

        Args:
            most: Maximum number of characters; None for no limit.

        Returns:
            The characters; at the end of the text fewer, or "".
        """
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
        """Number of generated characters, and how many were computed per second."""
        count = pluralize(self.written, "character")
        return f"{count}, computed at {self.written / self.seconds:,.0f} a second" if self.written else count


class NextCharacter:
    """Probabilities of the next character at any place of a text, as the text was drawn from them.

    They are computed when they are asked for, so that generating does not become slower.

    Args:
        model: The trained network with its vocabulary.
        request: Prompt and settings with which the text was generated.
    """

    def __init__(self, model: TrainedModel, request: PlayConfig) -> None:
        self.model, self.request = model, request
        self.prompt = model.prompt if request.prompt is None else request.prompt
        self.stepper = Stepper(model.architecture, model.params, 1)
        self.states = {0: self.stepper.state.copy()}  # before the character of this number

    def likeliest(self, text: str, place: int) -> list[tuple[str, float]]:
        """Read the text up to a character, and return the most likely next ones.

        Args:
            text: The prompt as typed, and the generated text so far.
            place: Number of the last character that is read, from 0.

        Returns:
            Pairs of a character and its probability, the most likely first: NUM_LIKELIEST characters, and the
            next character of the text where it is not one of them.
        """
        model, request, vocabulary = self.model, self.request, self.model.vocabulary
        start, end = max(known for known in self.states if known <= place), place + 1
        read = text[max(start, len(self.prompt)) : end]
        prompt = "" if start else model.normalization.apply(self.prompt[:end])
        ids = vocabulary.encode(prompt + read)
        self.stepper.state[:] = self.states[start]
        logits = np.zeros((1, len(vocabulary)))  # a text begins with any character
        with single_blas_thread():
            for number, token in enumerate(ids.tolist(), end - len(ids)):
                if number > len(self.prompt) and number % STATE_SPACING == 0:
                    self.states[number] = self.stepper.state.copy()
                logits = self.stepper.step(np.array([token]))
        p = scaled_probabilities(logits[0], request.temperature, request.top_k, request.top_p)
        order = np.argsort(-logits[0], kind="stable").tolist()
        shown = [vocabulary.characters[k] for k in order[:NUM_LIKELIEST]]
        shown += [c for c in text[end : end + 1] if c in vocabulary.characters and c not in shown]
        return [(c, float(p[vocabulary.characters.index(c)] / p.sum())) for c in shown]


def score(run: RunRecord) -> str:
    """Return the validation loss of a run, as a text for people.

    Args:
        run: Record of the run.

    Returns:
        Like `val/loss 1.2345`, or `no val/loss`.
    """
    return "no val/loss" if run.val_loss is None else f"val/loss {run.val_loss:.4f}"


def option_label(run: RunRecord) -> str:
    """Return the line that stands for a run in the list.

    Args:
        run: Record of the run.

    Returns:
        Name, val/loss, aliases and id.
    """
    return " · ".join([run.name, score(run), *run.aliases, run.run_id])


def settings_diff(run: RunRecord, other: RunRecord) -> list[tuple[str, bool]]:
    """List the settings of a run, and whether each differs from that of another run.

    LEADING_SETTINGS come first; of the other settings only those that differ are listed.

    Args:
        run: Record of the run whose settings are listed.
        other: Record of the run with which it is compared.

    Returns:
        Pairs of a setting like `hidden=64` (`-` for no value) and whether it differs.
    """
    keys = [key for key in dict.fromkeys([*run.params, *other.params]) if key not in HIDDEN_SETTINGS]
    changed = {key for key in keys if run.params.get(key) != other.params.get(key)}
    shown = [key for key in LEADING_SETTINGS if key in keys]
    shown += [key for key in keys if key in changed and key not in LEADING_SETTINGS]
    return [(f"{key}={run.params.get(key, '-')}", key in changed) for key in shown]


class ModelCache:
    """The models of a store's runs, each loaded once.

    Args:
        store: Store of the runs.
    """

    def __init__(self, store: DirectoryStore) -> None:
        self.store = store
        self.models: dict[str, TrainedModel] = {}
        self.lock = threading.Lock()  # both columns may load at the same time

    def load(self, run: RunRecord) -> TrainedModel:
        """Load the model of a run, once; several threads may call at the same time.

        Args:
            run: A record of the store.

        Returns:
            The network with its vocabulary.

        Raises:
            UserError: The run has no model, or a damaged one.
        """
        with self.lock:
            if run.run_id not in self.models:
                self.models[run.run_id] = self.store.load_model(run)
            return self.models[run.run_id]
