"""Functions that damage a file of an earlier command."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.invalid_inputs.case import Prepare


def corpus_file(root: Path, name: str) -> Path:
    (file,) = (root / "data").glob(f"file-*/{name}")
    return file


def model_file(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / "model" / name


def truncate(find: Callable[[Path, str], Path], name: str, fraction: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = find(root, name).read_bytes()
        find(root, name).write_bytes(raw[: int(len(raw) * fraction)])

    return prepare


def flip_bit(find: Callable[[Path, str], Path], name: str, position: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = bytearray(find(root, name).read_bytes())
        raw[int((len(raw) - 1) * position)] ^= 1
        find(root, name).write_bytes(raw)

    return prepare


def replace_by_pickle(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).write_bytes(pickle.dumps(np.zeros(9)))


def object_tokens(root: Path) -> None:
    np.save(corpus_file(root, "tokens.npy"), np.array([{"a": 1}], object), allow_pickle=True)


def remove(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).unlink()


def edit_json(find: Callable[[Path, str], Path], name: str, change: Callable[[Any], Any]) -> Prepare:
    def prepare(root: Path) -> None:
        content = json.loads(find(root, name).read_text())
        find(root, name).write_text(json.dumps(change(content)))

    return prepare


def run_file(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / name
