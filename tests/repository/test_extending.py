"""docs/extending.md followed to the letter, in a copy of the project: its files, its edits, its commands."""

import json
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import TIME_LIMIT
from tests.conftest import PROJECT, environ
from tests.doc_pages import Block, apply, blocks, page

SECTIONS = {
    heading: blocks(text)
    for heading, _, text in (part.partition("\n") for part in page("extending.md").split("\n## ")[1:])
}
COPIED = (
    "src",
    "conf",
    "tests",
    "benchmarks",
    "experiments",
    "docs",
    "pyproject.toml",
    "Makefile",
    "README.md",
)

KINDS = (
    "repository/test_imports", "sweeps/test_launchers", "config/test_schema",
)  # fmt: skip
FILES = " ".join(f"tests/{name}.py" for name in KINDS)
NEW = "ugrnn or lion or inverse_root or hamlet or pair or gates or choices_file"
OWN = "ugrnn.py test_ugrnn.py lion.py inverse_root.py"  # a user's modules
CHECKS = [
    f"python -m ruff check src tests {OWN}",
    f"python -m ruff format --check src tests {OWN}",
    f"python -m mypy {OWN} src/data/sources.py",
    f"python -m pytest -p no:cacheprovider -m 'not slow' {FILES} -k '{NEW}'",
]


@dataclass(frozen=True)
class Said:
    rc: int
    text: str


def copy(root: Path) -> None:
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        else:
            shutil.copy(source, root / name)


def run(root: Path, line: str) -> Said:
    python, *arguments = shlex.split(line)
    assert python == "python"
    kept = {key: value for key, value in environ().items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=kept | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    return Said(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which every section has been followed, one behind the other."""
    root = tmp_path_factory.mktemp("extended")
    copy(root)
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                apply(block, root)
    return root


def groups(section: list[Block]) -> list[tuple[Block, list[str]]]:
    """Every block of commands with the lines that one of them says."""
    found: list[tuple[Block, list[str]]] = []
    for block in section:
        if block.kind == "run":
            found.append((block, []))
        elif block.kind == "says":
            found[-1][1].extend(block.lines)
    return found


@pytest.fixture(scope="module")
def said(extended: Path) -> dict[str, Said]:
    """What every command of the page said, and what checks the whole, two at a time."""
    lines = [line for section in SECTIONS.values() for block, _ in groups(section) for line in block.lines]
    assert len(set(lines)) == len(lines) > 5
    run(extended, "python -m src.preprocess")  # or two commands would both make the default corpus
    lines += CHECKS
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(lines, pool.map(lambda line: run(extended, line), lines), strict=True))


def test_the_page_has_the_sections_that_it_announces() -> None:
    kinds = ("A cell", "An optimizer", "A schedule", "A corpus", "A launcher", "An experiment")
    assert tuple(SECTIONS) == kinds
    assert all(groups(section) for section in SECTIONS.values())


def test_every_file_and_edit_fits_the_code_of_today(tmp_path: Path) -> None:
    """The quick part of what follows: an edit whose place has moved is found without training."""
    copy(tmp_path)
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                apply(block, tmp_path)
    with pytest.raises(AssertionError, match="has 0 times"):
        apply(Block("edit", "src/config/schema.py", "-not there\n+there\n"), tmp_path)


def test_a_reader_is_told_the_path_of_every_block() -> None:
    """The markers are not shown: the text before them names the file."""
    text = " ".join(page("extending.md").split())
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                words = {"new": "New file", "edit": "Edit"}[block.kind]
                assert f"{words} `{block.about}`" in text


@pytest.mark.slow
@pytest.mark.parametrize("heading", SECTIONS)
def test_the_commands_of_a_section_end_as_it_says(heading: str, said: dict[str, Said]) -> None:
    for block, expected in groups(SECTIONS[heading]):
        printed = ""
        for line in block.lines:
            ended = said[line]
            assert ended.rc == int(block.about or 0), f"{line}\n{ended.text}"
            assert "Traceback" not in ended.text
            printed += ended.text
        for each in expected:
            assert each in printed, f"{block.text}{printed}"


@pytest.mark.slow
def test_what_was_added_reaches_the_runs(extended: Path, said: dict[str, Said]) -> None:
    """Each of them was trained with, and its name stands in the run's config."""
    assert said
    configs = [json.loads(file.read_text()) for file in extended.glob("outputs/runs/*/config.json")]
    assert "ugrnn.UGRNN" in {config["model"]["name"] for config in configs}
    for group, target in (("optimizer", "lion.Lion"), ("schedule", "inverse_root.InverseRoot")):
        assert target in {config[group]["_target_"] for config in configs}
    assert "hamlet" in {config["data"]["name"] for config in configs}


@pytest.mark.slow
@pytest.mark.parametrize("line", CHECKS)
def test_what_holds_for_our_code_holds_for_that_of_the_page(line: str, said: dict[str, Said]) -> None:
    """It is laid out and typed as strictly, and the suites that hold for all of a kind take the new ones."""
    assert said[line].rc == 0, said[line].text
