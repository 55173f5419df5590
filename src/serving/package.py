"""The code that a logged model carries, so that it writes text where this project is not installed.

The loader and what it imports, the mathematics, the vocabulary and the sampler, are copied under a package
name that holds their digest: two models of different versions of the code can be loaded in one process.
"""

import ast
import hashlib
import importlib.metadata
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.rnn.cells import CELLS

SOURCE = Path(__file__).resolve().parents[1]
LOADER = "serving/pyfunc.py"


@contextmanager
def stage() -> Iterator[tuple[str, Path]]:
    """Package name and directory of the copied code, for as long as the context lasts."""
    texts = {module: (SOURCE / module).read_text(encoding="utf-8") for module in modules()}
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:12]
    package = f"char_rnn_{digest}"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / package
        for module, text in texts.items():
            file = root / module
            file.parent.mkdir(parents=True, exist_ok=True)
            for folder in (root, *(root / inner for inner in Path(module).parents)):
                (folder / "__init__.py").touch()
            file.write_text(re.sub(r"^( *)from src\.", rf"\1from {package}.", text, flags=re.MULTILINE))
        (root / "loader.py").write_text(f"from {package}.serving.pyfunc import _load_pyfunc\n")
        yield package, root


def modules() -> list[str]:
    """The names of the loader's file and of every project file that it imports, directly or indirectly."""
    cells = {f"rnn/{path.partition('.')[0]}.py" for path in CELLS.values()}  # imported by their names
    found, waiting = set(), [LOADER, *cells]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        for node in ast.walk(ast.parse((SOURCE / module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == SOURCE.name:
                within = Path(*str(node.module).split(".")[1:])
                named = [within.with_suffix(".py"), *(within / f"{alias.name}.py" for alias in node.names)]
                waiting += [file.as_posix() for file in named if (SOURCE / file).is_file()]
    return sorted(found)


def requirements() -> list[str]:
    """Return the packages that the copied code imports, pinned to the installed versions."""
    packages = ("mlflow", "numpy", "pydantic", "safetensors", "typing-extensions")
    return [f"{name}=={importlib.metadata.version(name)}" for name in packages]
