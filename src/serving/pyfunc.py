"""MLflow pyfunc loader of a trained model: the code that `mlflow.pyfunc.load_model` calls.

MLflow imports it from the code that the model carries. `predict` has no type hints: MLflow reads them, and a
hint on the input would silently replace the logged signature and drop every param.

Invalid values raise MLflow's own exception, which its server answers with status 400. MLflow itself ignores
params that are not in the signature and warns about them in its log.
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException

from src.common.errors import UserError
from src.generation.sampling import sample
from src.models.serialization import TrainedModel, load

# Param name to its default, type, minimum and maximum, and the range in words. An MLflow param has
# one type and no null, so "off" is a number: top_k 0, top_p 1.
PARAMS: dict[str, tuple[float, type, float, float, str]] = {
    "temperature": (0.7, float, 0, sys.float_info.max, "a number >= 0"),
    "length": (300, int, 0, 100_000, "an integer from 0 to 100000"),  # limits the time of one request
    "seed": (1, int, 0, math.inf, "an integer >= 0"),
    "top_k": (0, int, 0, math.inf, "an integer >= 0 (0: off)"),
    "top_p": (1.0, float, math.ulp(0.0), 1, "a number > 0 and <= 1 (1: off)"),
}


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
            model_input: A table (pandas DataFrame) with the column `prompt`; a row with None uses the prompt
                of the run.
            params: `temperature` (0: always the likeliest character), `length` in new characters, `seed`,
                `top_k` (0: off) and `top_p` (1: off); None for the defaults (PARAMS). Every row uses the same
                seed, so a text does not depend on the other rows.

        Returns:
            The generated texts, one per prompt.

        Raises:
            MlflowException: A param is unknown or out of range, or a prompt has unknown characters.
        """  # noqa: DOC501 (`bad_request` returns an MlflowException)
        values = validated(params or {})
        # MLflow turns a dictionary of lists into one row whose cell is the list.
        typed = [p for cell in model_input["prompt"] for p in (cell if isinstance(cell, list) else [cell])]
        # A missing text arrives as None, or from pandas as NaN.
        prompts = [self.model.prompt if p is None or str(p) == "nan" != p else p for p in typed]
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise bad_request(f"prompt: expected a text, got {prompt!r}")
        seed, values["top_k"] = values.pop("seed"), values["top_k"] or None
        try:
            texts = (sample(self.model, p, rng=np.random.default_rng(seed), **values) for p in prompts)
            return ["".join(text) for text in texts]
        except UserError as error:  # a character that is not in the vocabulary
            raise bad_request(str(error)) from error


def validated(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return all params, with defaults for those that are not given, after a check of their types and ranges.

    Args:
        params: Param name to value; may be empty.

    Returns:
        Name to value of every param of PARAMS, converted to its type.

    Raises:
        MlflowException: A param is unknown (possible without MLflow's wrapper) or out of range.
    """  # noqa: DOC501 (`bad_request` returns an MlflowException)
    if unknown := sorted(params.keys() - PARAMS.keys()):
        raise bad_request(f"params: expected only {', '.join(PARAMS)}, got {', '.join(unknown)}")
    values = {}
    for name, (default, kind, least, most, expected) in PARAMS.items():
        value = params.get(name, default)
        # MLflow checks types by the signature, but accepts None.
        is_number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise bad_request(f"{name}: expected {expected}, got {'null' if value is None else value}")
        values[name] = kind(value)
    return values


def bad_request(reason: str) -> MlflowException:
    """Return an error that MLflow's server answers with status 400.

    Args:
        reason: Message in one line.

    Returns:
        The exception, to be raised.
    """
    return MlflowException.invalid_parameter_value(reason)


def _load_pyfunc(path: str) -> CharRnnPyfunc:
    """Return the model of a directory that src/models/serialization.py wrote; MLflow's entry point."""
    return CharRnnPyfunc(load(Path(path)))
