import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from src.common.errors import UserError
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.models.serialization import TrainedModel, load, save
from src.rnn.parameters import RNNConfig

DAMAGED = "run: expected a whole model, got a damaged one in"
FILES = ("weights.safetensors", "model.json")
ARCHITECTURES = [RNNConfig(5, 3, *kind) for kind in ((), ("gru", 2), ("lstm", 3), ("rnn", 2, "relu"))]


def model_of(architecture: RNNConfig, dtype: type[np.floating] = np.float32) -> TrainedModel:
    flat = np.random.default_rng(0).standard_normal(architecture.size()).astype(dtype)
    vocabulary = Vocabulary("\n \u00e9\u4e00\U0001f600")
    return TrainedModel(architecture, flat, vocabulary, Normalization(True, False, True), "\u00e9 \u4e00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(model_of(ARCHITECTURES[0]), tmp_path / "model")
    return tmp_path / "model"


def is_rejected(folder: Path) -> bool:
    with pytest.raises(UserError, match=DAMAGED) as caught:
        load(folder)
    return "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.cell}-{a.layers}-{a.activation}")
def test_save_load_round_trip(architecture: RNNConfig, folder: Path, dtype: type[np.floating]) -> None:
    """A model replaces the one that was saved before."""
    model = model_of(architecture, dtype)
    save(model, folder)
    assert {file.name for file in folder.iterdir()} == set(FILES)
    tensors = load_file(folder / "weights.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == architecture.shapes()
    loaded = load(folder)
    assert loaded.params.dtype == dtype
    assert loaded.params.tobytes() == model.params.tobytes()
    assert replace(loaded, params=model.params) == model
    loaded.params[:] = 0  # the weights are writable


def test_model_of_earlier_version_has_no_prompt(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    del description["prompt"]
    (folder / "model.json").write_text(json.dumps(description))
    assert load(folder).prompt == ""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fraction", [None, 0.0, 0.02, 0.5, 0.99])
def test_truncated_or_missing_file_is_rejected(folder: Path, name: str, fraction: float | None) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if fraction is not None:
        (folder / name).write_bytes(whole[: int(fraction * len(whole))])
    assert is_rejected(folder)
    assert is_rejected(folder / "nowhere")


@pytest.mark.parametrize("value", ["null", "3", "[]", "{}", '"text"'])
def test_json_of_wrong_type_is_rejected(folder: Path, value: str) -> None:
    (folder / "model.json").write_text(value)
    assert is_rejected(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", {"vocab": 5, "hidden": 4}),
        ("architecture", {"vocab": 4, "hidden": 3}),
        ("architecture", {"vocab": 5, "hidden": 3, "layers": 2}),
        ("architecture", {"vocab": 5, "hidden": 3, "cell": "lstm"}),
        ("architecture", {"vocab": 5, "hidden": 3, "cell": "transformer"}),
        ("architecture", {"vocab": 5, "hidden": 3, "activation": "step"}),
        ("architecture", {"vocab": 5, "hidden": 3, "cell": "gru", "activation": "relu"}),
        ("architecture", {"vocab": "5", "hidden": "3"}),
        ("architecture", None),
        ("characters", ["a", "b"]),
        ("characters", None),
        ("characters", [1, 2, 3, 4, 5]),
        ("normalization", {"lowercase": 1}),
        ("normalization", {"capitals": True}),
        ("normalization", None),
        ("format", "2"),
    ],
)
def test_description_not_matching_weights_is_rejected(folder: Path, key: str, value: object) -> None:
    file = folder / "model.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    changed = description[key] | value if isinstance(value, dict) else value
    file.write_text(json.dumps(description | {key: changed}))
    assert is_rejected(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"wh": None},
        {"more": np.zeros(3, np.float32)},
        {"wx": np.zeros((3, 5), np.float32)},
        {"wx": np.zeros((5, 3), np.float16)},
        {"wx": np.zeros((5, 3), np.float32)},
    ],
    ids=["missing", "extra", "shape", "dtype", "values"],
)
def test_invalid_tensors_are_rejected(folder: Path, changes: dict[str, Any]) -> None:
    tensors = load_file(folder / "weights.safetensors") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "weights.safetensors")
    assert is_rejected(folder)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickle_is_rejected_and_not_executed(folder: Path, tmp_path: Path) -> None:
    payload, trace = pickle.dumps(Bomb(tmp_path / "trace")), tmp_path / "trace"
    (folder / "weights.safetensors").write_bytes(payload)
    assert is_rejected(folder)
    assert not trace.exists()
    pickle.loads(payload)  # the payload works
    assert trace.exists()


def test_custom_cell_is_loaded_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """model.json has the path; the error names a missing module."""
    (tmp_path / "own_cell.py").write_text("from src.rnn.gru import GRU as CELL\n")
    monkeypatch.syspath_prepend(tmp_path)
    save(model_of(RNNConfig(5, 3, "own_cell.CELL")), tmp_path)
    assert load(tmp_path).architecture.spec.gates == "rzn"
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["architecture"]["cell"] == "own_cell.CELL"
    description["architecture"]["cell"] = "gone_cell.CELL"
    (tmp_path / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="No module named 'gone_cell'"):
        load(tmp_path)
