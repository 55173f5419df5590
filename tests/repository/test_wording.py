"""Retired words are not used: the glossary of CONTRIBUTING.md has one term for each thing."""

import re

import pytest

from tests.commands import PROJECT, run_process

RETIRED = (
    "told", "hopeless", "goes on", "going on", "go on", "went on", "beside", "entered", "brisk", "whoever",
    "what is above", "without a word", "so it is", "journals?", r"deliver\w*", "mended", "afresh", "anew",
)  # fmt: skip
PATTERN = re.compile(rf"\b({'|'.join(RETIRED)})\b", re.IGNORECASE)
KINDS = (".py", ".md", ".yaml", ".yml", ".html", ".toml", ".json")
# Texts of others, and files that quote the retired words.
EXCLUDED = (
    "data/", "benchmarks/mutation", "CHANGELOG.md", "experiments/sonnets/measured.json",
    "tests/repository/test_wording.py",
)  # fmt: skip


def test_no_retired_word_is_used() -> None:
    files = run_process(["git", "ls-files"]).out.splitlines()
    if not files:
        pytest.skip("not a git checkout")
    texts = [f for f in files if (f.endswith(KINDS) or f == "Makefile") and not f.startswith(EXCLUDED)]
    assert len(texts) > 200
    found = [
        f"{file}:{number}: {match[0]}"
        for file in texts
        for number, line in enumerate((PROJECT / file).read_text(encoding="utf-8").splitlines(), start=1)
        for match in PATTERN.finditer(line)
    ]
    assert not found
