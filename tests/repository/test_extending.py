"""Execute docs/extending.md in a copy of the project: files, edits and commands."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.commands import PROJECT, CommandResult, forked_commands, run_process
from tests.doc_pages import Block, apply, blocks, page

SECTIONS = {
    heading: blocks(text)
    for heading, _, text in (part.partition("\n") for part in page("extending.md").split("\n## ")[1:])
}
CHANGES = [block for section in SECTIONS.values() for block in section if block.kind in ("new", "edit")]
COPIED = (
    "src", "conf", "tests", "benchmarks", "experiments", "docs", "pyproject.toml", "Makefile", "README.md"
)  # fmt: skip
NEW = "ugrnn or lion or inverse_root or hamlet or pair or gates"
OWN = "ugrnn.py test_ugrnn.py lion.py inverse_root.py"  # modules of the user
TESTS = "tests/sweeps/test_launchers.py tests/config/test_schema.py"
CHECKS = [
    f"python -m ruff check src tests {OWN}",
    f"python -m ruff format --check src tests {OWN}",
    f"python -m mypy {OWN} src/data/sources.py",
    f"python -m pytest -p no:cacheprovider -m 'not slow' {TESTS} -k '{NEW}'",
]


@pytest.fixture(scope="module")
def extended_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the files and edits of every section."""
    root = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, root / name)
    for block in CHANGES:
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
def outputs(extended_copy: Path) -> dict[str, CommandResult]:
    """Run all commands of the page and the checks. Only the first run draws figures."""
    results: dict[str, CommandResult] = {}
    groups = [group for section in SECTIONS.values() for group in command_groups(section)]
    lines = [line for block, _ in groups for line in block.lines]
    with forked_commands(extended_copy) as command, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        for line in [*lines, *CHECKS]:
            _, _, module, *arguments = shlex.split(line)
            if module == "src.train" and any(" src.train " in earlier for earlier in results):
                arguments += ["figures=false", "diagnostics=false"]
            if module.startswith("src."):
                results[line] = command(module, *arguments)
            else:
                results[line] = run_process([sys.executable, "-m", module, *arguments], cwd=extended_copy)
    return results


def test_edits_apply_once_and_page_names_their_files(extended_copy: Path) -> None:
    """The markers of the blocks are hidden, so the text must name the file."""
    assert list(SECTIONS) == [
        "A cell", "An optimizer", "A schedule", "A corpus", "A launcher", "An experiment"
    ]  # fmt: skip
    with pytest.raises(AssertionError, match="has 0 times"):
        apply(Block("edit", "src/config/schema.py", "-not there\n+there\n"), extended_copy)
    text = " ".join(page("extending.md").split())
    for block in CHANGES:
        words = {"new": "New file", "edit": "Edit"}[block.kind]
        assert f"{words} `{block.about}`" in text


@pytest.mark.slow
@pytest.mark.parametrize("heading", SECTIONS)
def test_section_commands_print_expected_output(heading: str, outputs: dict[str, CommandResult]) -> None:
    assert command_groups(SECTIONS[heading])
    for block, expected in command_groups(SECTIONS[heading]):
        for line in block.lines:
            assert outputs[line].rc == int(block.about or 0), f"{line}\n{outputs[line]}"
        printed = "".join(outputs[line].out + outputs[line].err for line in block.lines)
        assert "Traceback" not in printed
        assert [each for each in expected if each not in printed] == [], f"{block.text}{printed}"


@pytest.mark.slow
@pytest.mark.usefixtures("outputs")
def test_extensions_are_used_by_runs(extended_copy: Path) -> None:
    """A run was trained with each extension."""
    configs = [json.loads(file.read_text()) for file in extended_copy.glob("outputs/runs/*/config.json")]
    assert "ugrnn.UGRNN" in {config["model"]["name"] for config in configs}
    assert "lion.Lion" in {config["optimizer"]["_target_"] for config in configs}
    assert "inverse_root.InverseRoot" in {config["schedule"]["_target_"] for config in configs}
    assert "hamlet" in {config["data"]["name"] for config in configs}


@pytest.mark.slow
@pytest.mark.parametrize("line", CHECKS)
def test_extensions_pass_checks(line: str, outputs: dict[str, CommandResult]) -> None:
    """Formatting, types and the tests of all choices and launchers include the extensions."""
    assert outputs[line].rc == 0, outputs[line]
