"""The examples in docstrings print the shown output."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODULES = [
    ".".join(file.relative_to(PROJECT).with_suffix("").parts)
    for file in sorted((PROJECT / "src").rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    found = doctest.testmod(import_module(name), report=True)
    assert found.attempted > 0
    assert found.failed == 0, "see the output for the differences"


def test_modules_with_doctests() -> None:
    data = {f"src.data.{name}" for name in ("normalization", "batches", "vocabulary")}
    rnn = {f"src.rnn.{name}" for name in ("loss", "optimizers", "schedules")}
    assert data | rnn | {"src.generation.sampling"} <= set(MODULES)
