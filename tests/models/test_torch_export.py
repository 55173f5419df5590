"""A state dict for PyTorch: names, shapes and metadata; with PyTorch, equal logits."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from src.common.errors import UserError
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.models.serialization import TrainedModel
from src.models.torch_export import state_dict, write_state_dict
from src.rnn.cells import CELLS
from src.rnn.network import Buffers, forward
from src.rnn.parameters import RNNConfig, unflatten
from tests.commands import PROJECT, RunCli

PAGE = PROJECT / "docs" / "export.md"


def random_model(cell: str, layers: int, activation: str = "tanh") -> TrainedModel:
    architecture = RNNConfig(5, 7, cell, layers, activation)
    params = np.random.default_rng(layers).normal(0, 0.4, architecture.size()).astype(np.float32)
    return TrainedModel(architecture, params, Vocabulary(" abcd"), Normalization(True, True, True))


def test_state_dict_has_torch_shapes() -> None:
    arrays = state_dict(random_model("lstm", 2))
    assert {name: array.shape for name, array in arrays.items()} == {
        "embedding.weight": (5, 5),
        "rnn.weight_ih_l0": (28, 5),
        "rnn.weight_hh_l0": (28, 7),
        "rnn.bias_ih_l0": (28,),
        "rnn.bias_hh_l0": (28,),
        "rnn.weight_ih_l1": (28, 7),
        "rnn.weight_hh_l1": (28, 7),
        "rnn.bias_ih_l1": (28,),
        "rnn.bias_hh_l1": (28,),
        "output.weight": (5, 7),
        "output.bias": (5,),
    }
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


def test_own_cell_is_rejected() -> None:
    model = random_model("src.rnn.lstm.LSTM", 1)
    with pytest.raises(UserError, match=r"cell rnn, gru or lstm, got src\.rnn\.lstm\.LSTM"):
        state_dict(model)


def test_command_writes_named_file(run_cli: RunCli, tmp_path: Path) -> None:
    small = ("hidden=8", "max_epochs=0.01", "workers=1", "length=5", "figures=false", "diagnostics=false")
    paths = (f"output_dir={tmp_path}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    run_cli("train", *small, *paths).check()
    file = tmp_path / "named.safetensors"
    result = run_cli("export", "run=latest", "format=torch", f"path={file}", *paths).check()
    assert result.out == f"{file}\n"
    with safe_open(file, "np") as content:
        metadata = content.metadata()
        assert content.get_tensor("output.weight").shape == (27, 8)
    assert len(json.loads(metadata["characters"])) == 27
    assert (metadata["cell"], metadata["hidden"], metadata["layers"]) == ("rnn", "8", "1")
    failed = run_cli("export", "run=latest", f"path={tmp_path}", *paths)
    assert (failed.rc, failed.out) == (2, "")
    assert str(tmp_path) in failed.err


def code_of_page() -> dict[str, Any]:
    """Run the code of docs/export.md."""
    (code,) = re.findall(r"<!-- torch-module -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_code_of_page_computes_same_logits(kind: tuple[str, str], layers: int, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of torch's import
        torch = pytest.importorskip("torch", reason="PyTorch is not installed here (make test-peers)")
    cell, activation = kind
    model = random_model(cell, layers, activation)
    write_state_dict(model, "a run", tmp_path / "model.safetensors")
    module, characters = code_of_page()["load"](tmp_path / "model.safetensors")
    assert characters == list(model.vocabulary.characters)
    ids = np.random.default_rng(0).integers(5, size=(30, 4))
    buffers = Buffers.allocate(model.architecture, 30, 4)
    logits = forward(unflatten(model.architecture, model.params), ids, buffers).T.reshape(30, 4, 5)
    with torch.no_grad():
        expected, _ = module(torch.from_numpy(ids))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=2e-6)
