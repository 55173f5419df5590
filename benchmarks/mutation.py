"""Mutation tests: do the tests of src/rnn and src/data notice changes of the code? By mutmut.

    make mutation                               (half an hour; run it again to continue)
    make mutation ONLY='rnn.loss rnn.optimizers'  (with the tests that import these themselves)

mutmut copies the code with every small change of every function (`<` to `<=`, 1 to 2, an argument to None).
For each change it runs the tests that call the function, in a forked process, until one fails. A change that
no test notices needs another test or has no effect: mutation_explained.json has the reason. Writes
mutation.md.

ONLY prints its table and leaves mutation.md unchanged.

mutmut accepts no package called `src`, so the copy is called `laboratory`. Only tests without a training run
are selected; the rest of the suite would notice more. A nested function counts as part of the outer one. Code
outside of functions, or below a decorator other than those of methods, is not changed.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from src.common.files import write_text

PROJECT = Path(__file__).resolve().parent.parent
COPY_DIR = PROJECT / ".mutation"
COPY = "laboratory"  # name of src in the copy
CHANGED = ("rnn", "data")
ALLOWED_PACKAGES = {*CHANGED, "common"}
EXCLUDED_TESTS = (
    "test_peers.py",  # PyTorch is not installed
    "test_memory_estimate.py",  # copies of functions take memory
    "test_operating.py",  # needs docs/, which is not copied
)
STATUS = {0: "survived", 1: "killed", 3: "killed", 33: "no test", 5: "no test", None: "not run"}
RESULT = Path(__file__).with_name("mutation.md")
EXPLAINED = Path(__file__).with_name("mutation_explained.json")
SETTINGS = f"""\
[tool.pytest.ini_options]
pythonpath = ["."]
addopts = "-q -p no:cacheprovider -p no:xdist -m 'not slow'"
markers = ["slow: as in the project"]

[tool.mutmut]
source_paths = ["{COPY}"]
only_mutate = [{", ".join(f'"{COPY}/{part}/*.py"' for part in CHANGED)}]
also_copy = ["tests"]
pytest_add_cli_args_test_selection = ["tests"]
timeout_constant = 5.0  # an endless loop: 4 times the seconds of the tests and of this
timeout_multiplier = 4.0
use_git_change_detection = false
"""


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Attributes:
        module: For example `rnn.loss`.
        change: Removed and added lines with their signs; "" if a test noticed the change.
    """

    module: str
    function: str
    status: str
    change: str


def is_selected(file: Path, only: list[str]) -> bool:
    """Return whether a test file tests only src/rnn and src/data, and one of the modules in `only`."""
    parts: set[str] = set()
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "src":
            names = {alias.name for alias in node.names}
            parts |= names if node.module == "src" else {(node.module or "").split(".")[1]}
            module = (node.module or "").removeprefix("src.")
            modules |= {module} | {f"{module}.{name}" for name in names}
    environment = bool(parts & set(CHANGED)) and parts <= ALLOWED_PACKAGES
    if only and not modules & set(only):
        return False
    return environment and file.name not in EXCLUDED_TESTS


def write_copy(only: list[str]) -> None:
    """Write the copy if it does not exist or the code has changed."""
    files = {COPY + str(f.relative_to(PROJECT))[3:]: f for f in (PROJECT / "src").rglob("*.py")}
    for file in (PROJECT / "tests").rglob("*.py"):
        if not file.name.startswith("test_") or is_selected(file, only):  # helpers are copied completely
            files[str(file.relative_to(PROJECT))] = file
    for name, file in files.items():
        text = re.sub(r"\bsrc(?=\.| import)", COPY, file.read_text(encoding="utf-8"))
        write_if_changed(COPY_DIR / name, text)
    write_if_changed(COPY_DIR / "pyproject.toml", SETTINGS)
    for folder in (COPY_DIR / "tests", COPY_DIR / "mutants" / "tests"):
        for old in folder.rglob("test_*.py"):
            if f"tests/{old.relative_to(folder)}" not in files:
                old.unlink()


def write_if_changed(file: Path, text: str) -> None:
    """Write a file if its text has changed; mutmut compares modification times."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def mutants() -> Iterator[Mutant]:
    """Yield the results of mutmut."""
    os.chdir(COPY_DIR)  # mutmut searches its files there
    difference: Any = import_module("mutmut.mutation.diff_apply").get_diff_for_mutant
    for part in CHANGED:
        for meta in sorted((COPY_DIR / "mutants" / COPY / part).glob("*.py.meta")):
            source = meta.with_suffix("").relative_to(COPY_DIR / "mutants")
            codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
            for key, code in codes.items():
                status, change = STATUS.get(code, "timeout"), ""
                if status in ("survived", "no test"):
                    lines = difference(key, path=source).splitlines()[2:]
                    change = "\n".join(f"{x[0]} {x[1:].strip()}" for x in lines if x[:1] in ("-", "+"))
                function = re.sub(r".*\.x_?|__mutmut_\d+$", "", key).strip("ǁ").replace("ǁ", ".")
                yield Mutant(f"{part}.{source.stem}", function, status, change)


def page(mutants_found: list[Mutant], explained: list[dict[str, str]]) -> str:
    """Return mutation.md."""
    reasons = {(e["module"], e["function"], e["change"]): e["why"] for e in explained}
    lines = [
        "# What the tests notice",
        "",
        "Written by `make mutation`: " + second_paragraph(__doc__ or ""),
        "",
    ]
    lines += ["| module | changes | noticed | timeout | not noticed, explained | not noticed | not run |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    total: Counter[str] = Counter()
    for module in sorted({m.module for m in mutants_found}):
        of = [m for m in mutants_found if m.module == module]
        counted = Counter(m.status for m in of)
        missed = [m for m in of if m.status in ("survived", "no test")]
        counted["explained"] = sum((m.module, m.function, m.change) in reasons for m in missed)
        counted["open"] = len(missed) - counted["explained"]
        total += counted
        lines.append(row(f"`{module}`", len(of), counted))
    lines += [row("**all**", len(mutants_found), total), "", "## Not noticed, and why", ""]
    lines += ["| function | change | why |", "| --- | --- | --- |"]
    for m in mutants_found:
        if m.status in ("survived", "no test"):
            status = reasons.get(
                (m.module, m.function, m.change), "**open**" + (", no test" * (m.status == "no test"))
            )
            change = "<br>".join(f"`{line.replace('|', chr(92) + '|')}`" for line in m.change.splitlines())
            lines.append(f"| `{m.module}.{m.function}` | {change} | {status} |")
    return "\n".join(lines) + "\n"


def second_paragraph(text: str) -> str:
    """Return the third paragraph of a docstring in one line."""
    return " ".join(text.split("\n\n")[2].split())


def row(name: str, count: int, counted: Counter[str]) -> str:
    cells = (counted[k] for k in ("killed", "timeout", "explained", "open", "not run"))
    return f"| {name} | {count} | " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    write_copy(sys.argv[1:])
    selected = [f"{COPY}.{module}.*" for module in sys.argv[1:]]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1), *selected]
    environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=COPY_DIR, check=False, env=os.environ | environment)
    explained = json.loads(EXPLAINED.read_text(encoding="utf-8")) if EXPLAINED.exists() else []
    report(list(mutants()), explained, sys.argv[1:])


def report(mutants_found: list[Mutant], explained: list[dict[str, str]], only: list[str]) -> None:
    """Write the table, or print it if it is for some modules."""
    if only:
        print(page([m for m in mutants_found if m.module in only], explained))
        return
    write_text(RESULT, page(mutants_found, explained))
    print(f"wrote {RESULT.name}")


if __name__ == "__main__":
    main()
