"""Checkpoints are complete or rejected; the last two are kept; a damaged one falls back to an older one."""

import json
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from hypothesis.extra.numpy import arrays as any_array

from src.common.errors import UserError
from src.rnn.parameters import RNNConfig
from src.training import checkpoint

NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
ARCHITECTURE = RNNConfig(vocab=5, hidden=4)
STATE: dict[str, Any] = {
    "training": {
        "counters": {
            "step": 1, "validated": 1, "lr": 0.1 + 0.2, "seconds": 1.5, "step_seconds": 1.0,
            "reset_state": False, "running": {"steps": 0, "loss": 0.0, "norm": 0.0, "clipped": 0},
        },
        "best": {"loss": float("inf"), "step": 0, "wait_count": 0, "best_for_patience": float("inf")},
        "rollback": {"count": 0, "scale": 1.0, "good_at": 0},
        "schedule": {},
        "batches": {"shift": 3, "position": 2},
        "update_ratios": {},
        "rng": np.random.default_rng(0).bit_generator.state,
    },
    "event_log_bytes": 10,
    "sample_chars": 0,
    "corpus": "d",
    "code": "c",
    "model": {
        "architecture": asdict(ARCHITECTURE),
        "characters": list("abcde"),
        "normalization": {"lowercase": False, "letters_only": False, "collapse_spaces": False},
    },
}  # fmt: skip


def arrays(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "weights": rng.random(ARCHITECTURE.size(), np.float32),
        "best": rng.random(ARCHITECTURE.size(), np.float32),
        "optimizer.step": np.array(7 + seed, np.int64),
        "carried": rng.random((1, 1, 3, 4), np.float32),
    }


def bits(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return the dtype, shape and bytes of every array."""
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}


def write_event_log(folder: Path, size: int) -> None:
    (folder / "events.jsonl").write_bytes(bytes(size))


def save_checkpoints(folder: Path, *steps: int) -> list[Path]:
    """Save checkpoints of a run with an event log of 10 bytes."""
    write_event_log(folder, 10)
    return [checkpoint.save(folder, step, arrays(step), STATE) for step in steps]


def test_checkpoint_round_trips(tmp_path: Path) -> None:
    """test_any_checkpoint_round_trips_and_detects_damage has other arrays."""
    (path,) = save_checkpoints(tmp_path, 1200)
    assert path == tmp_path / "checkpoints" / "step_00001200.safetensors"
    found = checkpoint.load(path)
    assert found.state == STATE
    assert bits(found.arrays) == bits(arrays(1200))


def test_array_view_is_saved(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    path = checkpoint.save(tmp_path, 1, {"part": whole[:, ::2]}, STATE)
    assert checkpoint.read_file(path)[0]["part"].tolist() == whole[:, ::2].tolist()


def test_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    save_checkpoints(tmp_path, 100, 200)
    torn = tmp_path / "checkpoints" / ".step_00000300.safetensors.77.tmp"
    torn.write_bytes(b"half")
    save_checkpoints(tmp_path, 99_999_999, 100_000_000)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step_100000000.safetensors", "step_99999999.safetensors"]
    assert checkpoint.newest(tmp_path).arrays["optimizer.step"] == 100_000_007


@pytest.mark.parametrize("position", [0.0, 0.02, 0.3, 0.999])
def test_truncated_file_is_rejected(position: float, tmp_path: Path) -> None:
    (path,) = save_checkpoints(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(position * len(whole))])
    with pytest.raises(ValueError, match=r"."):
        checkpoint.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ARRAYS = st.dictionaries(
    NAMES,
    st.sampled_from(["f4", "f8", "i8", "u1", "u2", "?"]).flatmap(
        lambda kind: any_array(kind, array_shapes(min_dims=0, min_side=0, max_side=3))
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=25)
@given(ARRAYS, st.dictionaries(NAMES, JSON, max_size=4), st.data())
def test_any_checkpoint_round_trips_and_detects_damage(
    given_arrays: dict[str, Any], state: dict[str, Any], data: st.DataObject
) -> None:
    """A changed blank of the header has no effect."""

    def same(found: tuple[dict[str, Any], str]) -> bool:
        return bits(found[0]) == bits(given_arrays) and json.loads(found[1]) == state

    with tempfile.TemporaryDirectory() as folder:
        path = checkpoint.save(Path(folder), 1, given_arrays, state)
        assert same(checkpoint.read_file(path))
        whole = path.read_bytes()
        for _ in range(10):
            index = data.draw(st.integers(0, len(whole) - 1))
            flipped = bytes([whole[index] ^ data.draw(st.integers(1, 255))])
            path.write_bytes(whole[:index] + flipped + whole[index + 1 :])
            try:
                found = checkpoint.read_file(path)
            except ValueError:
                continue
            assert same(found)
            assert (whole[index : index + 1] + flipped).isspace(), (index, whole[index], flipped)


def test_damaged_newest_checkpoint_falls_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = save_checkpoints(tmp_path, 1, 2)
    second.write_bytes(second.read_bytes()[:-100])
    assert checkpoint.newest(tmp_path).path == first
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"resume: {second.name} is damaged (")
    first.write_bytes(b"")
    both = r"got step_00000002.safetensors is damaged \(.* and step_00000001.safetensors is"
    with pytest.raises(UserError, match=rf"resume: expected a whole checkpoint in .*, {both}"):
        checkpoint.newest(tmp_path)


def test_checkpoint_ahead_of_event_log_is_skipped(tmp_path: Path) -> None:
    """After a machine crash the last lines of the event log can be missing."""
    save_checkpoints(tmp_path, 1)
    checkpoint.save(tmp_path, 2, arrays(), STATE | {"event_log_bytes": 11})
    write_event_log(tmp_path, 11)
    assert checkpoint.newest(tmp_path).path.name == "step_00000002.safetensors"
    write_event_log(tmp_path, 10)
    assert checkpoint.newest(tmp_path).path.name == "step_00000001.safetensors"


def test_unwritable_checkpoint_directory_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match="expected a writable path"):
        save_checkpoints(tmp_path, 1)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        ("training", None, "training"),
        ("corpus", "gone", "corpus"),
        ("event_log_bytes", "10", "event_log_bytes"),
        ("training counters step", 1.5, "training.counters.step"),
        ("training counters running more", 1, "training.counters.running.more"),
        ("training best loss", None, "training.best.loss"),
        ("training rollback scale", "gone", "training.rollback.scale"),
        ("training batches", {"shift": 1}, "training.batches"),
        ("training rng bit_generator", "MT19937", "training.rng.bit_generator"),
        ("training rng state inc", "gone", "training.rng.state.inc"),
        ("model architecture cell", "x", "got x with tanh"),
        ("model architecture hidden", 5, "array best|array weights"),
        ("model characters", ["a"], "1 characters for a vocabulary of 5"),
    ],
)
def test_invalid_state_is_rejected(position: str, value: Any, message: str, tmp_path: Path) -> None:
    """The value "gone" removes the key."""
    state = part = deepcopy(STATE)
    *outer, key = position.split()
    for name in outer:
        part = part[name]
    part[key] = value
    if value == "gone":
        del part[key]
    write_event_log(tmp_path, 10)
    path = checkpoint.save(tmp_path, 1, arrays(), state)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda found: found.pop("best"), "no array best"),
        (lambda found: found.update(weights=found["weights"][1:].copy()), "array weights"),
        (lambda found: found.update(best=found["best"].astype(np.float64)), "array best"),
        (lambda found: found.update(averaged=found["best"][1:].copy()), "array averaged"),
        (lambda found: found.update(carried=found["carried"][:, :, :, 1:].copy()), "array carried"),
        (lambda found: found.update({"good.averaged": found["best"]}), "array good.averaged"),
        (lambda found: found.update({"good.optimizer.step": np.array([1])}), "array good.optimizer.step"),
        (lambda found: found.update(other=found["best"]), "array other"),
    ],
)
def test_invalid_arrays_are_rejected(
    change: Callable[[dict[str, Any]], object], name: str, tmp_path: Path
) -> None:
    given_arrays = arrays()
    change(given_arrays)
    with pytest.raises(ValueError, match=name):
        checkpoint.load(checkpoint.save(tmp_path, 1, given_arrays, STATE))
