"""Functions that replace or damage the files of a case; a pattern selects files below its root."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.invalid_inputs.case import Prepare

RUN = "outputs/runs/first"


def text(content: bytes) -> Prepare:
    return lambda root: (root / "text.txt").write_bytes(content)


def without_text(root: Path) -> None:
    (root / "text.txt").unlink()


def named_pipe(root: Path) -> None:
    without_text(root)
    os.mkfifo(root / "text.txt")


def edit(pattern: str, change: Callable[[bytes], bytes]) -> Prepare:
    def prepare(root: Path) -> None:
        files = list(root.glob(pattern))
        assert files
        for file in files:
            file.write_bytes(change(file.read_bytes()))

    return prepare


def cut(pattern: str) -> Prepare:
    """Keep the first half of a file."""
    return edit(pattern, lambda raw: raw[: len(raw) // 2])


def flip_bit(pattern: str) -> Prepare:
    return edit(pattern, lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])


def edit_json(pattern: str, change: Callable[[Any], Any]) -> Prepare:
    return edit(pattern, lambda raw: json.dumps(change(json.loads(raw))).encode())


def remove(pattern: str) -> Prepare:
    def prepare(root: Path) -> None:
        for file in root.glob(pattern):
            file.unlink()

    return prepare
