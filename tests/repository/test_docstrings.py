"""Docstrings of public functions and classes: Google style with the sections that the signature needs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# reference.py describes the arguments of all steps once, in its module docstring.
FILES = sorted({*(PROJECT / "src").rglob("*.py")} - {PROJECT / "src" / "rnn" / "reference.py"})
SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$", re.MULTILINE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield every public function and method of a module or class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from public_functions(child, f"{prefix}{child.name}.")
        elif isinstance(child, Function) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", child


def section(docstring: str, name: str) -> str:
    """Return the text of one section, "" if it is missing."""
    parts = SECTION.split(docstring)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(name, "")


def faults(function: Function) -> list[str]:
    """Return what the docstring of a function lacks."""
    docstring = ast.get_docstring(function) or ""
    if {"overload", "override"} & {ast.unparse(decorator) for decorator in function.decorator_list}:
        return []  # described by the implementation, or by the method of the base class
    described = re.findall(r"^    \*{0,2}(\w+)(?: \(.*?\))?:", section(docstring, "Args"), re.MULTILINE)
    every = [argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)]
    parameters = [name for name in every if name not in ("self", "cls", "_")]
    missing = [name for name in parameters if name not in described]
    unknown = [name for name in described if name not in parameters]
    found = [f"Args lacks {name}" for name in missing] + [f"Args has {name}" for name in unknown]
    returns = ast.unparse(function.returns) if function.returns else "None"
    is_property = any("property" in ast.unparse(decorator) for decorator in function.decorator_list)
    if returns not in ("None", "Never", "NoReturn") and not is_property:
        found += [] if section(docstring, "Returns") or section(docstring, "Yields") else ["no Returns"]
    return found


def test_public_functions_describe_their_arguments_and_results() -> None:
    wrong = {
        f"{file}: {name}": found
        for file in FILES
        for name, function in public_functions(ast.parse(file.read_text(encoding="utf-8")))
        if (found := faults(function))
    }
    assert wrong == {}


def test_a_docstring_without_its_sections_is_found() -> None:
    module = ast.parse(
        "def f(x: int, *, y: int) -> int:\n"
        '    """Add.\n\n    Args:\n        x: One.\n        z: Two.\n    """\n'
        'def g() -> None:\n    """Do."""\n'
    )
    found = {name: faults(function) for name, function in public_functions(module)}
    assert found == {"f": ["Args lacks y", "Args has z", "no Returns"], "g": []}
