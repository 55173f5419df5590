"""What a person asks for on the page, checked, and the text that answers it, a piece at a time."""

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from src.common.errors import pluralize
from src.config.constraints import Constraint, fields_of
from src.config.schema import PlayConfig
from src.generation.sampling import sample
from src.models.serialization import TrainedModel

TIME_SLICE = 0.04  # seconds of computing at a time: what is shown grows smoothly, and a stop is heard


@dataclass(frozen=True)
class GenerationRequest:
    """What to write. Names and ranges are those of the keys of conf/play.yaml."""

    prompt: str
    temperature: float
    top_k: int | None
    top_p: float | None
    length: int
    seed: int


KEYS = [f.name for f in fields(GenerationRequest)]
CONSTRAINTS: dict[str, Constraint] = {key: fields_of(PlayConfig)[key].validator for key in KEYS}


def validation_error(key: str, value: Any) -> str | None:
    """Why a key of Wish cannot hold what was typed into its field, in one line; None when it can."""
    constraint = CONSTRAINTS[key]
    whole = constraint.kind == "an integer" and isinstance(value, float) and value.is_integer()
    if constraint.is_satisfied_by(int(value) if whole else value):  # a browser sends 5.0 for 5
        return None
    words = constraint.describe().replace("or null for", "or nothing for")
    return f"expected {words}, got {'nothing' if value is None else f'{value:g}'}"


def parse_request(typed: dict[str, Any]) -> GenerationRequest:
    """The values of the page's controls, all of them without a complaint."""
    integers = {k: int(v) for k, v in typed.items() if CONSTRAINTS[k].kind == "an integer" and v is not None}
    return GenerationRequest(**{**typed, **integers})


class TextStream:
    """A text in the making. Raises UserError for a prompt that the model cannot read."""

    def __init__(self, model: TrainedModel, wish: GenerationRequest) -> None:
        rng = np.random.default_rng(wish.seed)
        self.characters = sample(
            model, wish.prompt, wish.temperature, wish.length, rng, top_k=wish.top_k, top_p=wish.top_p
        )
        self.written = 0
        self.seconds = 0.0  # spent computing by the thread itself, so that neighbors do not count
        self.ended = False

    def next_chunk(self, most: int | None) -> str:
        """The next characters: at most `most`, and no more than come in a slice of time."""
        taken: list[str] = []
        began, until = time.thread_time(), time.monotonic() + TIME_SLICE
        while (most is None or len(taken) < most) and time.monotonic() < until:
            character = next(self.characters, None)
            if character is None:
                self.ended = True
                break
            taken.append(character)
        self.written += len(taken)
        self.seconds += time.thread_time() - began
        return "".join(taken)

    @property
    def rate(self) -> str:
        """How much has been written, and how fast."""
        count = pluralize(self.written, "character")
        return f"{count}, computed at {self.written / self.seconds:,.0f} a second" if self.written else count
