"""The code that a logged model carries, so that it writes text where this project is not installed.

The mathematics, the vocabulary, the sampler and the loader are copied under a package name that holds
their digest: two models of different versions of the code can be loaded in one process.
"""

import hashlib
import importlib.metadata
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
MODULES = (
    "errors.py",
    "files.py",
    "rnn/parameters.py",
    "rnn/arrays.py",
    "rnn/tape.py",
    "rnn/tiling.py",
    "rnn/products.py",
    "rnn/vanilla.py",
    "rnn/gru.py",
    "rnn/lstm.py",
    "rnn/cells.py",
    "rnn/loss.py",
    "rnn/network.py",
    "rnn/stepping.py",
    "text/normalisation.py",
    "text/vocabulary.py",
    "lab/weights.py",
    "lab/sampling.py",
    "lab/serving.py",
)


@contextmanager
def stage() -> Iterator[tuple[str, Path]]:
    """Package name and directory of the copied code, for as long as the context lasts."""
    texts = {module: (SOURCE / module).read_text(encoding="utf-8") for module in MODULES}
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:12]
    package = f"char_rnn_{digest}"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / package
        for module, text in texts.items():
            file = root / module
            for folder in (file.parent, root):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "__init__.py").touch()
            file.write_text(re.sub(r"^from src\.", f"from {package}.", text, flags=re.MULTILINE))
        (root / "serving.py").write_text(f"from {package}.lab.serving import _load_pyfunc\n")
        yield package, root


def requirements() -> list[str]:
    """What the copied code imports, pinned to what is installed here."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "numpy", "safetensors")]
