"""A logged model's loader: what `mlflow.pyfunc.load_model` calls, and the predict that it finds.

Imports no MLflow. `predict` has no type hints: MLflow reads them, and one on its input would silently
replace the logged signature and drop every param.
"""

from pathlib import Path

import numpy as np

from src.errors import InputError
from src.lab.sampling import sample
from src.lab.weights import Model, load

RANGES = "temperature >= 0, length >= 0, seed >= 0"


class Writer:
    """Writes text for prompts."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]
        """One text a row of the column `prompt`, the prompt not repeated.

        params: temperature (0 takes the likeliest character), length in new characters, seed; each row
        starts from the same seed, so its text does not depend on its neighbours.
        """
        chosen = {"temperature": 0.7, "length": 300, "seed": 1, **(params or {})}
        if min(chosen["temperature"], chosen["length"], chosen["seed"]) < 0:
            raise InputError(f"params: expected {RANGES}, got {chosen}")
        # MLflow makes one row of a dictionary of lists, whose cell is the list.
        prompts = [p for cell in model_input["prompt"] for p in (cell if isinstance(cell, list) else [cell])]
        return [self.write(str(prompt), **chosen) for prompt in prompts]

    def write(self, prompt: str, temperature: float, length: int, seed: int) -> str:
        return "".join(sample(self.model, prompt, temperature, length, np.random.default_rng(seed)))


def _load_pyfunc(path: str) -> Writer:
    """MLflow's entry point. path: the directory that src/lab/weights.py wrote."""
    return Writer(load(Path(path)))
