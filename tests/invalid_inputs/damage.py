"""What damages a file that an earlier command has written."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.invalid_inputs.case import Prepare


def prepared(root: Path, name: str) -> Path:
    (file,) = (root / "data").glob(f"file-*/{name}")
    return file


def model(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / "model" / name


def cut(find: Callable[[Path, str], Path], name: str, keep: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = find(root, name).read_bytes()
        find(root, name).write_bytes(raw[: int(len(raw) * keep)])

    return prepare


def flip(find: Callable[[Path, str], Path], name: str, where: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = bytearray(find(root, name).read_bytes())
        raw[int((len(raw) - 1) * where)] ^= 1
        find(root, name).write_bytes(raw)

    return prepare


def pickled(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).write_bytes(pickle.dumps(np.zeros(9)))


def objects(root: Path) -> None:
    np.save(prepared(root, "tokens.npy"), np.array([{"a": 1}], object), allow_pickle=True)


def gone(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).unlink()


def changed(find: Callable[[Path, str], Path], name: str, change: Callable[[Any], Any]) -> Prepare:
    def prepare(root: Path) -> None:
        told = json.loads(find(root, name).read_text())
        find(root, name).write_text(json.dumps(change(told)))

    return prepare


def of_the_run(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / name
