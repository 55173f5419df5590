"""Execute docs/extending.md in a copy of the project: files, edits and commands."""

import json
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.commands import PROJECT, environ, run_process
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
OWN = "ugrnn.py test_ugrnn.py lion.py inverse_root.py"  # modules of the user
CHECKS = [
    f"python -m ruff check src tests {OWN}",
    f"python -m ruff format --check src tests {OWN}",
    f"python -m mypy {OWN} src/data/sources.py",
    f"python -m pytest -p no:cacheprovider -m 'not slow' {FILES} -k '{NEW}'",
]


@dataclass(frozen=True)
class Output:
    rc: int
    text: str


def copy_project(root: Path) -> None:
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        else:
            shutil.copy(source, root / name)


def run(root: Path, line: str) -> Output:
    python, *arguments = shlex.split(line)
    assert python == "python"
    kept = {key: value for key, value in environ().items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = run_process([sys.executable, *arguments], cwd=root, env=kept | {"COLUMNS": "120"})
    return Output(process.rc, process.out + process.err)


@pytest.fixture(scope="module")
def extended_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files and edits of every section."""
    root = tmp_path_factory.mktemp("extended")
    copy_project(root)
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                apply(block, root)
    return root


def command_groups(section: list[Block]) -> list[tuple[Block, list[str]]]:
    """Return every command block with the expected lines of its output."""
    found: list[tuple[Block, list[str]]] = []
    for block in section:
        if block.kind == "run":
            found.append((block, []))
        elif block.kind == "says":
            found[-1][1].extend(block.lines)
    return found


@pytest.fixture(scope="module")
def outputs(extended_copy: Path) -> dict[str, Output]:
    """Run all commands of the page and the checks, two at a time."""
    lines = [
        line for section in SECTIONS.values() for block, _ in command_groups(section) for line in block.lines
    ]
    assert len(set(lines)) == len(lines) > 5
    run(extended_copy, "python -m src.preprocess")  # avoids two parallel preparations
    lines += CHECKS
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(lines, pool.map(lambda line: run(extended_copy, line), lines), strict=True))


def test_page_sections() -> None:
    sections = ("A cell", "An optimizer", "A schedule", "A corpus", "A launcher", "An experiment")
    assert tuple(SECTIONS) == sections
    assert all(command_groups(section) for section in SECTIONS.values())


def test_every_edit_applies(tmp_path: Path) -> None:
    """Finds outdated edits without training."""
    copy_project(tmp_path)
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                apply(block, tmp_path)
    with pytest.raises(AssertionError, match="has 0 times"):
        apply(Block("edit", "src/config/schema.py", "-not there\n+there\n"), tmp_path)


def test_page_names_path_of_every_block() -> None:
    """The markers are hidden, so the text must name the file."""
    text = " ".join(page("extending.md").split())
    for section in SECTIONS.values():
        for block in section:
            if block.kind in ("new", "edit"):
                words = {"new": "New file", "edit": "Edit"}[block.kind]
                assert f"{words} `{block.about}`" in text


@pytest.mark.slow
@pytest.mark.parametrize("heading", SECTIONS)
def test_section_commands_print_expected_output(heading: str, outputs: dict[str, Output]) -> None:
    for block, expected in command_groups(SECTIONS[heading]):
        printed = ""
        for line in block.lines:
            output = outputs[line]
            assert output.rc == int(block.about or 0), f"{line}\n{output.text}"
            assert "Traceback" not in output.text
            printed += output.text
        for each in expected:
            assert each in printed, f"{block.text}{printed}"


@pytest.mark.slow
def test_extensions_are_used_by_runs(extended_copy: Path, outputs: dict[str, Output]) -> None:
    """A run was trained with each extension."""
    assert outputs
    configs = [json.loads(file.read_text()) for file in extended_copy.glob("outputs/runs/*/config.json")]
    assert "ugrnn.UGRNN" in {config["model"]["name"] for config in configs}
    for group, target in (("optimizer", "lion.Lion"), ("schedule", "inverse_root.InverseRoot")):
        assert target in {config[group]["_target_"] for config in configs}
    assert "hamlet" in {config["data"]["name"] for config in configs}


@pytest.mark.slow
@pytest.mark.parametrize("line", CHECKS)
def test_extensions_pass_checks(line: str, outputs: dict[str, Output]) -> None:
    """Formatting, types and the test suites of all cells, optimizers, ... include the extensions."""
    assert outputs[line].rc == 0, outputs[line].text
