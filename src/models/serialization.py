"""A trained network on disk: weights as safetensors, everything else that it needs as JSON."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired, get_type_hints

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from src.common.errors import UserError
from src.common.files import load_json, record_schema, write_atomically, write_json
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.rnn.cells import get_cell
from src.rnn.parameters import Array, RNNConfig, named_views


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with everything that is needed to turn a prompt into text.

    Attributes:
        architecture: Sizes and cell type of the network.
        params: Flat vector of the weights, float32 or float64, shape (n,).
        vocabulary: Characters of the corpus; the position of a character is its id.
        normalization: Normalization of the corpus, which is also applied to a prompt.
        prompt: The run's own prompt, which the network reads where no other is given; "" for none.
    """

    architecture: RNNConfig
    params: Array
    vocabulary: Vocabulary
    normalization: Normalization
    prompt: str = ""


MODEL_FIELDS: dict[str, Any] = {  # how model.json and a checkpoint describe a model
    "architecture": record_schema(**get_type_hints(RNNConfig)),
    "characters": list[str],  # in the order of their ids
    "normalization": record_schema(**get_type_hints(Normalization)),
}
# Earlier versions wrote no prompt.
MODEL_FILE = record_schema(format=int, **MODEL_FIELDS, prompt=NotRequired[str], weights_sha256=str)
DTYPES = ({np.dtype(np.float32)}, {np.dtype(np.float64)})  # of the weights: all arrays have the same
FORMAT = 2  # of model.json; 2: the LSTM's gates are in the order o, i, f, g


def save(model: TrainedModel, folder: Path) -> None:
    """Write a model as `weights.safetensors` and `model.json`; each file is written completely or not at all.

    Args:
        model: Trained network with its vocabulary and normalization.
        folder: Directory of the two files; it is made if it does not exist.

    Raises:
        UserError: A file cannot be written.
        ValueError: The weight vector does not have the size of the architecture.
    """
    tensors = named_views(model.architecture, model.params)
    write_atomically(folder / "weights.safetensors", lambda path: path.write_bytes(serialize(tensors)))
    described = {
        "format": FORMAT,
        "architecture": asdict(model.architecture),
        "characters": list(model.vocabulary.characters),
        "normalization": asdict(model.normalization),
        "prompt": model.prompt,
        "weights_sha256": hashlib.sha256(model.params.tobytes()).hexdigest(),
    }
    write_json(folder / "model.json", described)


def digest(folder: Path) -> str:
    """Return the SHA-256 of the file of the weights.

    Args:
        folder: Directory that `save` wrote.

    Returns:
        Hexadecimal digest of `weights.safetensors`.

    Raises:
        UserError: The file is missing or cannot be read.
    """  # noqa: DOC501 (`_damaged_model_error` returns a UserError)
    try:
        return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise _damaged_model_error(folder, error) from error


def load(folder: Path) -> TrainedModel:
    """Read a model that `save` wrote.

    Args:
        folder: Directory with `weights.safetensors` and `model.json`.

    Returns:
        The model, with its weights as a flat vector (n,) in the dtype of the file.

    Raises:
        UserError: A file is missing, damaged or of another format, or the two files do not fit together.
    """  # noqa: DOC501 (it becomes the UserError below)
    try:
        described = load_json(folder / "model.json", MODEL_FILE)
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
        normalization = Normalization(**described["normalization"])
        return TrainedModel(architecture, params, vocabulary, normalization, described.get("prompt", ""))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _damaged_model_error(folder, error) from error


def _damaged_model_error(folder: Path, error: Exception) -> UserError:
    """Return the one-line error for a directory whose model cannot be read, with the reason."""
    return UserError(f"run: expected a whole model, got a damaged one in {folder} ({error})")
