"""A trained network on disk: weights as safetensors, everything else that it needs as JSON."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize
from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.common.errors import UserError
from src.common.files import load_json, write_atomically, write_json
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.rnn.cells import get_cell
from src.rnn.parameters import Array, RNNConfig, named_views


@dataclass(frozen=True)
class TrainedModel:
    """Everything that turns a prompt into text."""

    architecture: RNNConfig
    params: Array
    vocabulary: Vocabulary
    normalization: Normalization


class ArchitectureFields(TypedDict):
    """The fields of an RNNConfig."""

    vocab: int
    hidden: int
    cell: str
    layers: int
    activation: str


class NormalizationFields(TypedDict):
    """The fields of a Normalization."""

    lowercase: bool
    letters_only: bool
    collapse_spaces: bool


class ModelFile(TypedDict):
    """model.json. characters: of the vocabulary, by id. weights_sha256: of the parameter vector's bytes."""

    format: int
    architecture: ArchitectureFields
    characters: list[str]
    normalization: NormalizationFields
    weights_sha256: str


DTYPES = ({np.dtype(np.float32)}, {np.dtype(np.float64)})  # of the weights: one for all
FORMAT = 2  # 2: the LSTM's gates in the order o, i, f, g


def save(model: TrainedModel, folder: Path) -> None:
    """Write weights.safetensors and model.json into `folder`, each whole or not at all."""
    tensors = named_views(model.architecture, model.params)
    write_atomically(folder / "weights.safetensors", lambda path: path.write_bytes(serialize(tensors)))
    write_json(
        folder / "model.json",
        {
            "format": FORMAT,
            "architecture": asdict(model.architecture),
            "characters": list(model.vocabulary.characters),
            "normalization": asdict(model.normalization),
            "weights_sha256": hashlib.sha256(model.params.tobytes()).hexdigest(),
        },
    )


def digest(folder: Path) -> str:
    """Return the SHA-256 of the file of weights. Raises UserError when there is none."""
    try:
        return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise damaged_model_error(folder, error) from error


def load(folder: Path) -> TrainedModel:
    """Read what `save` wrote; UserError when a file is missing or they do not fit together."""
    try:
        described = load_json(folder / "model.json", ModelFile)
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']}, this version reads {FORMAT}")
        architecture = RNNConfig(**described["architecture"])
        get_cell(architecture.cell, architecture.activation)
        vocabulary = Vocabulary("".join(described["characters"]))
        tensors = load_file(str(folder / "weights.safetensors"))
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if {tensor.dtype for tensor in tensors.values()} not in DTYPES:
            raise ValueError("weights that are not all float32")
        if shapes != architecture.shapes() or len(vocabulary) != architecture.vocab:
            raise ValueError("weights, sizes and vocabulary do not match")
        params = np.concatenate([tensors[name].reshape(-1) for name in architecture.shapes()])
        if hashlib.sha256(params.tobytes()).hexdigest() != described["weights_sha256"]:
            raise ValueError("the weights changed after they were written")
        return TrainedModel(architecture, params, vocabulary, Normalization(**described["normalization"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise damaged_model_error(folder, error) from error


def damaged_model_error(folder: Path, error: Exception) -> UserError:
    """Return the one-line error for a folder whose model cannot be read."""
    return UserError(f"run: expected a whole model, got a damaged one in {folder} ({error})")
