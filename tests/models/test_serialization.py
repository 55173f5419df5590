import json
import pickle
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


ARCHITECTURES = [RNNConfig(5, 3, *kind) for kind in ((), ("gru", 2), ("lstm", 3), ("rnn", 2, "relu"))]


@pytest.fixture
def model() -> TrainedModel:
    return model_of(ARCHITECTURES[0])


def model_of(architecture: RNNConfig) -> TrainedModel:
    flat = np.random.default_rng(0).standard_normal(architecture.size()).astype(np.float32)
    return TrainedModel(
        architecture, flat, Vocabulary("\n \u00e9\u4e00\U0001f600"), Normalization(True, False, True)
    )


@pytest.fixture
def folder(model: TrainedModel, tmp_path: Path) -> Path:
    save(model, tmp_path / "model")
    return tmp_path / "model"


def is_refused(folder: Path) -> bool:
    with pytest.raises(UserError, match=DAMAGED) as caught:
        load(folder)
    return "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: f"{a.cell}-{a.layers}-{a.activation}")
def test_save_load_round_trip(architecture: RNNConfig, tmp_path: Path, dtype: type[np.floating]) -> None:
    model = model_of(architecture)
    flat = model.params.astype(dtype)
    save(TrainedModel(model.architecture, flat, model.vocabulary, model.normalization), tmp_path)
    loaded = load(tmp_path)
    assert loaded.params.dtype == dtype
    assert loaded.params.tobytes() == flat.tobytes()
    assert loaded.architecture == model.architecture
    assert loaded.vocabulary == model.vocabulary
    assert loaded.normalization == model.normalization


def test_loaded_weights_are_writable(folder: Path) -> None:
    load(folder).params[:] = 0


def test_saved_model_files(folder: Path, model: TrainedModel) -> None:
    assert {p.name for p in folder.iterdir()} == {"weights.safetensors", "model.json"}
    shapes = {name: tensor.shape for name, tensor in load_file(folder / "weights.safetensors").items()}
    assert shapes == model.architecture.shapes()


def test_saving_again_replaces_model(folder: Path, model: TrainedModel) -> None:
    other = TrainedModel(model.architecture, model.params + 1, model.vocabulary, model.normalization)
    save(other, folder)
    assert load(folder).params.tobytes() == other.params.tobytes()
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file_is_rejected(folder: Path, name: str, fraction: float) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(fraction * len(whole))])
    assert is_refused(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_missing_file_is_rejected(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert is_refused(folder)


def test_missing_directory_is_rejected(tmp_path: Path) -> None:
    assert is_refused(tmp_path / "nowhere")


@pytest.mark.parametrize("value", ["null", "3", "[]", "{}", '"text"'])
def test_json_of_wrong_type_is_rejected(folder: Path, value: str) -> None:
    (folder / "model.json").write_text(value)
    assert is_refused(folder)


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
    assert is_refused(folder)


@pytest.mark.parametrize("change", ["missing", "extra", "transposed", "float16"])
def test_invalid_tensors_are_rejected(folder: Path, change: str) -> None:
    tensors = load_file(folder / "weights.safetensors")
    if change == "missing":
        del tensors["wh"]
    elif change == "extra":
        tensors["more"] = np.zeros(3, np.float32)
    elif change == "float16":
        tensors["wx"] = tensors["wx"].astype(np.float16)
    else:
        tensors["wx"] = np.ascontiguousarray(tensors["wx"].T)
    save_file(tensors, folder / "weights.safetensors")
    assert is_refused(folder)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickle_is_rejected_and_not_executed(folder: Path, tmp_path: Path) -> None:
    payload, trace = pickle.dumps(Bomb(tmp_path / "trace")), tmp_path / "trace"
    (folder / "weights.safetensors").write_bytes(payload)
    assert is_refused(folder)
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
