"""A trained network as a PyTorch state dict: `torch.nn.Embedding`, `RNN`, `GRU` or `LSTM`, and `Linear`."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialize

from src.common.errors import UserError
from src.common.files import write_atomically
from src.models.serialization import TrainedModel
from src.rnn.parameters import Array, Layer, unflatten

# PyTorch's gates as indices of ours. GRU: both r, z, n. LSTM: i, f, g, o there, o, i, f, g here.
GATE_ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [1, 2, 3, 0]}


def state_dict(model: TrainedModel) -> dict[str, Array]:
    """Map the weights of a network to the names, shapes and gate order of PyTorch.

    The embedding is the identity matrix: a row is the one-hot vector of a character. PyTorch adds `bias_hh`
    to `bias_ih`; therefore it is 0, except in the candidate of the GRU, where the reset gate multiplies it.

    Args:
        model: A network with the cell `rnn`, `gru` or `lstm`.

    Returns:
        Arrays by name, in the dtype of the weights: `embedding.weight` (V, V), `rnn.weight_ih_l0` (G*H, V),
            `rnn.weight_hh_l0` (G*H, H), `rnn.bias_ih_l0` and `rnn.bias_hh_l0` (G*H), the same for the other
            layers, `output.weight` (V, H) and `output.bias` (V).

    Raises:
        UserError: PyTorch has no such cell.
    """
    architecture = model.architecture
    if architecture.cell not in GATE_ORDER:
        raise UserError(f"run: expected a network with the cell rnn, gru or lstm, got {architecture.cell}")
    parameters = unflatten(architecture, model.params)
    arrays = {"embedding.weight": np.eye(architecture.vocab, dtype=model.params.dtype)}
    for k, layer in enumerate(parameters.layers):
        arrays |= {
            f"rnn.{name}_l{k}": value for name, value in layer_arrays(layer, architecture.cell).items()
        }
    arrays |= {"output.weight": parameters.wy.T, "output.bias": parameters.by}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def layer_arrays(layer: Layer, cell: str) -> dict[str, Array]:
    """Map the weights of one layer.

    Args:
        layer: Parameters of the layer, with D inputs.
        cell: `rnn`, `gru` or `lstm`.

    Returns:
        `weight_ih` (G*H, D), `weight_hh` (G*H, H), `bias_ih` and `bias_hh` (G*H).
    """
    order, units = GATE_ORDER[cell], layer.wh.shape[-1]
    bias_hh = np.zeros(layer.b.size, layer.b.dtype)
    if layer.bh.size:
        bias_hh[-units:] = layer.bh
    return {
        "weight_ih": np.concatenate([layer.wx[gate].T for gate in order]),
        "weight_hh": np.concatenate([layer.wh[gate].T for gate in order]),
        "bias_ih": layer.b[order].reshape(-1),
        "bias_hh": bias_hh,
    }


def write_state_dict(model: TrainedModel, run_id: str, path: Path) -> None:
    """Write the state dict as a safetensors file.

    The metadata of the file are `characters` (a JSON list, in the order of their ids), `cell`, `hidden`,
    `layers`, `activation` and `run`.

    Args:
        model: A network with the cell `rnn`, `gru` or `lstm`.
        run_id: Id of the run of the model.
        path: File to write, completely or not at all.

    Raises:
        UserError: PyTorch has no such cell, or the file cannot be written.
    """
    a = model.architecture
    metadata = {
        "characters": json.dumps(list(model.vocabulary.characters)),
        "cell": a.cell,
        "hidden": str(a.hidden),
        "layers": str(a.layers),
        "activation": a.activation,
        "run": run_id,
    }
    content = serialize(state_dict(model), metadata)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
