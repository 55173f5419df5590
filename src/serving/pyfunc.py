"""A logged model's loader: what `mlflow.pyfunc.load_model` calls, and the predict that it finds.

Imported by MLflow alone, from the code that the model carries. `predict` has no type hints: MLflow reads
them, and one on its input would silently replace the logged signature and drop every param.

Whatever is wrong with a request is answered with what was expected: MLflow's own exception, which its
server makes a 400 of. (Of any other it says "unexpected error" and shows the traceback.)
"""

import ast
import difflib
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from src.common.errors import InputError
from src.generation.sampling import sample
from src.models.serialization import Model, load

# Param to its default, its type and the values it may take. An MLflow param has a type, so that "off" is a
# number: top_k 0, top_p 1.
PARAMS: dict[str, tuple[float, type, str]] = {
    "temperature": (0.7, float, "a number >= 0"),
    "length": (300, int, "an integer from 0 to 100000"),
    "seed": (1, int, "an integer >= 0"),
    "top_k": (0, int, "an integer >= 0 (0: off)"),
    "top_p": (1.0, float, "a number > 0 and <= 1 (1: off)"),
}
LONGEST = 100_000  # characters: a server is not to be kept busy by one typo


class Writer:
    """Writes text for prompts."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]
        """One text a row of the column `prompt`, the prompt not repeated.

        params: temperature (0 takes the likeliest character), length in new characters, seed, top_k (0: off),
        top_p (1: off); each row starts from the same seed, so its text does not depend on its neighbours.
        """
        chosen = checked(params or {})
        # MLflow makes one row of a dictionary of lists, whose cell is the list.
        prompts = [p for cell in model_input["prompt"] for p in (cell if isinstance(cell, list) else [cell])]
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise refusal(f"prompt: expected a text, got {prompt!r}")
        try:
            return [self.write(prompt, **chosen) for prompt in prompts]
        except InputError as error:  # a character that the model does not know
            raise refusal(str(error)) from error

    def write(self, prompt: str, temperature: float, length: int, seed: int, top_k: int, top_p: float) -> str:
        rng = np.random.default_rng(seed)
        return "".join(sample(self.model, prompt, temperature, length, rng, top_k or None, top_p))


def checked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Every param with its value or its default. Raises for one that is unknown or out of range."""
    if strangers := params.keys() - PARAMS.keys():  # called without MLflow's wrapper
        raise refusal(unknown(list(strangers)))
    chosen = {name: params.get(name, default) for name, (default, _, _) in PARAMS.items()}
    for name, (_, kind, expected) in PARAMS.items():
        if not fits(name, chosen[name]):
            value = "null" if chosen[name] is None else chosen[name]
            raise refusal(f"{name}: expected {expected}, got {value}")
        chosen[name] = kind(chosen[name])
    return chosen


def fits(name: str, value: Any) -> bool:
    """Whether a param may have this value. MLflow has checked the types, and lets None through."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        return False
    if PARAMS[name][1] is int and not isinstance(value, int):
        return False
    return not (name == "length" and value > LONGEST) and not (name == "top_p" and not 0 < value <= 1)


def unknown(names: list[str]) -> str:
    """The line for params that the model does not have, each with the nearest that it has."""
    names = sorted(names)
    near = [match for name in names for match in difflib.get_close_matches(name, PARAMS, n=1)]
    hint = f": did you mean {', '.join(near)}?" if near else ""
    return f"params: expected only {', '.join(PARAMS)}, got {', '.join(names)}{hint}"


def refusal(reason: str) -> MlflowException:
    """What MLflow's server makes a 400 of."""
    return MlflowException.invalid_parameter_value(reason)


class NoSilence(logging.Filter):
    """Makes an error of what MLflow drops with a mere word in its log: params that the model does not have.

    MLflow calls `predict` without them, so that its log is the one public place where they can be caught.
    A server takes {"prompt": "when ", "temperature": 0.5}, too; there a misspelt param comes as a column.
    What is said of another model that is loaded in the same process stays a word in the log.
    """

    MISSPELT = re.compile(r"Unrecognized params (\[.*\]) are ignored .* params are: (\{.*\})\.", re.DOTALL)
    EXTRA = re.compile(r"Found extra inputs .*: `(\[.*\])`\. These inputs will be ignored", re.DOTALL)

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        found = self.MISSPELT.search(said)
        if found and ast.literal_eval(found[2]) == PARAMS.keys():
            raise refusal(unknown(ast.literal_eval(found[1])))
        served_alone = os.environ.get("_MLFLOW_IS_IN_SERVING_ENVIRONMENT") == "true"
        if served_alone and (found := self.EXTRA.search(said)):
            raise refusal(unknown(ast.literal_eval(found[1])))
        return True


def _load_pyfunc(path: str) -> Writer:
    """MLflow's entry point. path: the directory that src/models/serialization.py wrote."""
    told = logging.getLogger("mlflow.models.utils")
    if not any(isinstance(known, NoSilence) for known in told.filters):
        told.addFilter(NoSilence())
        told.setLevel(logging.WARNING)  # or a quieter MLflow would not ask the filter
    return Writer(load(Path(path)))
