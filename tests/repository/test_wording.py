"""Retired words: the glossary of CONTRIBUTING.md has one term for each thing, and no second one."""

import re
import subprocess

import pytest

from tests.commands import PROJECT

RETIRED = (
    "told", "hopeless", "goes on", "going on", "go on", "went on", "beside", "entered", "brisk", "whoever",
    "what is above", "without a word", "so it is",
)  # fmt: skip
PATTERN = re.compile(rf"\b({'|'.join(RETIRED)})\b", re.IGNORECASE)
KINDS = (".py", ".md", ".yaml", ".html", ".toml", ".json")
# Folders whose words are not ours to choose, or that quote the retired words.
ELSEWHERE = ("data/", "tests/", "benchmarks/mutation", "CHANGELOG.md", "experiments/sonnets/measured.json")


def test_no_retired_word_is_used() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if not files:
        pytest.skip("this copy is no checkout")
    ours = [f for f in files if (f.endswith(KINDS) or f == "Makefile") and not f.startswith(ELSEWHERE)]
    assert len(ours) > 200
    found = [
        f"{file}:{number}: {match[0]}"
        for file in ours
        for number, line in enumerate((PROJECT / file).read_text(encoding="utf-8").splitlines(), start=1)
        for match in PATTERN.finditer(line)
    ]
    assert not found
