"""File sizes, license, citation, changelog, links, locks, screenshots, and blocks that benchmarks write."""

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from omegaconf import OmegaConf
from PIL import Image

from benchmarks import cold_start, quickstart
from src.cli.help import COMMANDS
from src.common.files import read_block, write_block
from tests.commands import run_process

PROJECT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
MADE = {"data", "outputs"}  # folders with generated files
PAGES = sorted(
    file
    for pattern in ("*.md", "[!.]*/**/*.md")
    for file in PROJECT.glob(pattern)
    if file.relative_to(PROJECT).parts[0] not in MADE
)


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def lines_of_code(text: str) -> int:
    """Return the number of lines of a module without its docstrings."""
    documented = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node) is not None
    ]
    docstrings = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in documented)
    return text.count("\n") - docstrings


def test_files_have_at_most_300_lines() -> None:
    files = [file for part in ("src", "benchmarks", "docs") for file in (PROJECT / part).rglob("*.py")]
    lines = {str(f.relative_to(PROJECT)): lines_of_code(f.read_text(encoding="utf-8")) for f in files}
    assert lines_of_code('"""A.\n\nB.\n"""\n\n\ndef f():\n    """C."""\n    return 1\n') == 4
    assert {name.split("/")[0] for name in lines} == {"src", "benchmarks", "docs"}
    assert not {name: count for name, count in lines.items() if count > 300}


def test_license_matches_pyproject() -> None:
    text = read("LICENSE")
    assert text.startswith("MIT License\n\nCopyright (c) 2026 the authors of char-rnn-laboratory\n")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    expected = {"license": "MIT", "license-files": ["LICENSE"], "readme": "README.md"}
    assert expected.items() <= PYPROJECT["project"].items()


def test_citation_and_changelog_are_valid() -> None:
    """Required and known keys of the Citation File Format 1.2.0."""
    data: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / "CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= data.keys()
    known = {"abstract", "type", "version", "date-released", "license", "keywords", "references"}
    assert data.keys() <= known | {"cff-version", "message", "title", "authors"}
    assert (data["cff-version"], data["type"]) == ("1.2.0", "software")
    assert all(author.keys() == {"name"} for author in data["authors"])  # entities, not persons
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", data["date-released"])
    for reference in data["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
        assert all({"family-names", "given-names"} == person.keys() for person in reference["authors"])
    assert data["license"] == PYPROJECT["project"]["license"]
    assert data["version"] == PYPROJECT["project"]["version"]
    changelog = read("CHANGELOG.md")
    released = re.findall(r"^## \[(\S+)\] - (\d{4}-\d{2}-\d{2})$", changelog, re.MULTILINE)[0]
    assert released == (data["version"], data["date-released"])
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def prose(page: str) -> str:
    """Return a page without code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page, flags=re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_relative_links_resolve() -> None:
    assert anchors("# A b\n## C, `d`: e\n") == {"a-b", "c-d-e"}
    checked = []
    for file in PAGES:
        text = file.read_text(encoding="utf-8")
        targets = re.findall(r"\]\(([^)\s]+)\)", prose(text)) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.M)
        for target in (target for target in targets if "://" not in target):
            path, _, anchor = unquote(target).partition("#")
            linked = (file.parent / path).resolve() if path else file
            assert linked.exists(), f"{file.name}: {target}"
            assert linked.is_relative_to(PROJECT)
            assert not anchor or anchor in anchors(linked.read_text(encoding="utf-8")), (
                f"{file.name}: {target}"
            )
            checked.append(str(file.relative_to(PROJECT)))
    assert {"CHANGELOG.md", "docs/commands.md"} <= set(checked)
    assert checked.count("README.md") > 20


def test_screenshots_are_small_and_used() -> None:
    screenshots = sorted((PROJECT / "docs" / "screenshots").iterdir())
    assert {file.name for file in screenshots} == {"mlflow.png", "neurons.png"}
    assert sum(file.stat().st_size for file in screenshots) < 600_000
    for file in screenshots:
        assert f"](docs/screenshots/{file.name})" in read("README.md")
        with Image.open(file) as image:
            assert image.width >= 1200
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100, "the screenshot is not empty"


def pinned(lock: str) -> dict[str, str]:
    """Return the lines of each pin by name and version (with its marker)."""
    pins = re.split(r"^(?=[a-z0-9])", read(lock), flags=re.MULTILINE)[1:]
    return {pin.partition(" \\")[0]: re.sub(r"^ *#.*\n?", "", pin, flags=re.MULTILINE) for pin in pins}


def test_run_lock_is_subset_without_tools() -> None:
    run, whole = pinned("requirements-run.lock"), pinned("requirements.lock")
    assert run.items() <= whole.items()
    names = {pin.partition("==")[0] for pin in run}
    direct = {re.split(r"[^\w-]", text)[0] for text in PYPROJECT["project"]["dependencies"]}
    tools = {re.split(r"[^\w-]", text)[0] for text in PYPROJECT["dependency-groups"]["dev"]}
    assert direct <= names
    assert not tools & names
    assert tools <= {pin.partition("==")[0] for pin in whole}


def test_make_targets_install_their_tools() -> None:
    tools = re.compile(r"\$\(RUN\) -m (pytest|ruff|mypy|coverage|benchmarks\.screenshots)\b")
    rules = re.findall(r"^([a-z-]+):([^\n#]*)##[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    targets = {name: needs.split() for name, needs, recipe in rules if tools.search(recipe)}
    assert {"test", "test-fast", "test-cluster", "lint", "format", "screenshots"} <= targets.keys()
    assert [name for name, needs in targets.items() if "dev" not in needs] == []


def test_setup_compiles_packages_and_source() -> None:
    """The first command is no slower than the second."""
    recipe = run_process(["make", "-n", "setup", "VENV=none there"]).check().out
    assert "UV_COMPILE_BYTECODE=1 none there/bin/uv pip install" in recipe
    assert "none there/bin/python -m compileall -q src" in recipe


def test_write_block_replaces_only_marked_text(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("a <!-- x -->old<!-- /x --> b <!-- y -->old<!-- /y -->\n")
    write_block(file, "x", "new")
    assert file.read_text() == "a <!-- x -->new<!-- /x --> b <!-- y -->old<!-- /y -->\n"
    assert read_block(file.read_text(), "x") == "new"
    for name in ("z", "/x"):
        with pytest.raises(ValueError, match="expected <!-- "):
            write_block(file, name, "new")


def test_quickstart_is_measured() -> None:
    data = json.loads(quickstart.RESULT.read_text(encoding="utf-8"))
    assert read_block(read("README.md"), "quickstart") == quickstart.sentence(data)
    assert data["warnings"] == 0
    assert data["commands"] == len(quickstart.COMMANDS) == len(data["seconds"])
    assert data["sample_characters"] > 300
    assert "://" not in json.dumps(data)


def test_cold_start_table_is_measured() -> None:
    data = json.loads(cold_start.RESULT.read_text(encoding="utf-8"))
    assert read_block(read("docs/commands.md"), "cold-start") == "\n" + cold_start.table(data)
    assert data["ours_at_most"] == max(start["ours"] for start in data["starts"]) < data["bound"] == 1.0
    names = {start["command"] for start in data["starts"]}
    assert {f"{command} --help" for command in COMMANDS} | {"train", "pipeline", "preprocess"} <= names
    for start in data["starts"]:
        assert sum(start[kind] for kind in cold_start.SHARES) == pytest.approx(start["seconds"], rel=0.2)


def test_cold_start_of_commands_on_local_runs_is_bounded() -> None:
    data = json.loads(cold_start.RESULT.read_text(encoding="utf-8"))
    local = {start["command"]: start["seconds"] for start in data["starts"] if "run=" in start["command"]}
    assert local.keys() == {f"{command} run=latest" for command in ("sample", "evaluate", "export")}
    assert data["local_at_most"] == max(local.values()) < data["local_bound"] == 1.0


def test_cold_start_shares() -> None:
    lines = """\
import time: self [us] | cumulative | imported package
import time:    100000 |     100000 | site
mark python 10.3
import time:    200000 |     200000 |   src.cli.main
mark compose 10.6
import time:    300000 |     300000 |     hydra.main
import time:    100000 |     100000 |       numpy._core
mark body 11.5
import time:    400000 |     400000 | mlflow
something else
mark step 12.0
import time:    900000 |     900000 | matplotlib""".splitlines()
    seconds = {kind: 2 * share for kind, share in cold_start.shares(10.0, lines, "step").items()}
    expected = {"python": 0.4, "hydra": 0.8, "others": 0.4, "ours": 0.4}
    assert seconds == pytest.approx(expected)


def test_package_size_is_read_from_record(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, size in (("large", 3_000_000), ("small", 1000)):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}.so").write_bytes(b"0" * size)
        (site / f"{name}-1.0.dist-info" / "RECORD").write_text(f"{name}.so,sha256=x,{size}\ngone.py,,\n")
    assert quickstart.largest(tmp_path) == {"large": 3.0, "small": 0.0}
    (site / "again.so").hardlink_to(site / "large.so")
    assert quickstart.megabytes(site.glob("*.so")) == pytest.approx(3.001)


def test_warning_pattern() -> None:
    assert all(map(quickstart.WARNING.search, ("WARNING: x", "y.py:3: DeprecationWarning: z", "a warning")))
    assert not quickstart.WARNING.search("trained 1196 steps (1.00 epochs) in 2.1 s")


def test_repository_contains_no_generated_files() -> None:
    listed = run_process(["git", "ls-files"]).out.split("\n")
    if len(listed) < 2:
        pytest.skip("not a git checkout")
    foreign = [name for name in listed if re.match(r"(\.venv|outputs/(?!README)|data/(?!README))", name)]
    assert foreign == []
