"""MLflow pyfunc loader of a trained model: what `mlflow.pyfunc.load_model` calls.

Imported by MLflow from the code that the model carries. `predict` has no type hints: MLflow reads them, and a
hint on the input would silently replace the logged signature and drop every param.

Invalid values raise MLflow's own exception, which its server answers with status 400. MLflow itself ignores
params that are not in the signature and warns about them in its log.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from src.common.errors import UserError
from src.generation.sampling import sample
from src.models.serialization import TrainedModel, load

# Param to its default, its type and the values it may take. An MLflow param has one type and no null, so
# "off" is a number: top_k 0, top_p 1.
PARAMS: dict[str, tuple[float, type, str]] = {
    "temperature": (0.7, float, "a number >= 0"),
    "length": (300, int, "an integer from 0 to 100000"),
    "seed": (1, int, "an integer >= 0"),
    "top_k": (0, int, "an integer >= 0 (0: off)"),
    "top_p": (1.0, float, "a number > 0 and <= 1 (1: off)"),
}
MAX_NEW_CHARS = 100_000  # characters: bounds the time of one request


class CharRnnPyfunc:
    """A trained model with MLflow's pyfunc interface.

    Args:
        model: The trained network with its vocabulary.
    """

    def __init__(self, model: TrainedModel) -> None:
        self.model = model

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]
        """Generate one text per prompt, without the prompt.

        Args:
            model_input: A table with the column `prompt`.
            params: temperature (0: greedy), length in new characters, seed, top_k (0: off), top_p (1: off).
                Every row uses the same seed, so a text does not depend on the other rows.

        Returns:
            The generated texts, one per prompt.

        Raises:
            MlflowException: A param is unknown or out of range, or a prompt has unknown characters.
        """
        values = validated(params or {})
        # MLflow makes one row of a dictionary of lists, whose cell is the list.
        prompts = [p for cell in model_input["prompt"] for p in (cell if isinstance(cell, list) else [cell])]
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise bad_request(f"prompt: expected a text, got {prompt!r}")
        try:
            return [self.generate(prompt, **values) for prompt in prompts]
        except UserError as error:  # a character that is not in the vocabulary
            raise bad_request(str(error)) from error

    def generate(
        self, prompt: str, temperature: float, length: int, seed: int, top_k: int, top_p: float
    ) -> str:
        """Generate `length` characters after the prompt."""
        rng = np.random.default_rng(seed)
        return "".join(sample(self.model, prompt, temperature, length, rng, top_k or None, top_p))


def validated(params: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in defaults and check every param.

    Raises:
        MlflowException: A param is unknown (possible without MLflow's wrapper) or out of range.
    """
    if unknown := sorted(params.keys() - PARAMS.keys()):
        raise bad_request(f"params: expected only {', '.join(PARAMS)}, got {', '.join(unknown)}")
    values = {name: params.get(name, default) for name, (default, _, _) in PARAMS.items()}
    for name, (_, kind, expected) in PARAMS.items():
        if not is_valid(name, values[name]):
            value = "null" if values[name] is None else values[name]
            raise bad_request(f"{name}: expected {expected}, got {value}")
        values[name] = kind(values[name])
    return values


def is_valid(name: str, value: Any) -> bool:
    """Return whether a param can have this value; MLflow checks types by the signature, but accepts None."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        return False
    if PARAMS[name][1] is int and not isinstance(value, int):
        return False
    return not (name == "length" and value > MAX_NEW_CHARS) and not (name == "top_p" and not 0 < value <= 1)


def bad_request(reason: str) -> MlflowException:
    """An error that MLflow's server answers with status 400."""
    return MlflowException.invalid_parameter_value(reason)


def _load_pyfunc(path: str) -> CharRnnPyfunc:
    """MLflow's entry point; path: a directory written by src/models/serialization.py."""
    return CharRnnPyfunc(load(Path(path)))
