"""Digests: of the project's own code, with which a run was computed, and of what makes two jobs the same."""

import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

from src.config.instantiate import TARGET_GROUPS, find_class
from src.config.schema import Config
from src.config.validation import flatten

SOURCE = Path(__file__).resolve().parents[1]
# What determines a result: packages, and modules beside the commands.
PACKAGES = ("common", "rnn", "data", "models", "generation", "evaluation", "diagnostics", "training")
MODULES = ("final_evaluation.py", "runner.py")


@cache
def code_digest() -> str:
    """SHA-256 over the name and the bytes of every module that a result depends on."""
    digest = hashlib.sha256()
    files = [file for part in PACKAGES for file in (SOURCE / part).rglob("*.py")]
    for file in sorted([*files, *(SOURCE / module for module in MODULES)]):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def job_digest(config: Config, corpus_digest: str) -> str:
    """SHA-256 over what makes two jobs the same: config, data and code.

    The code is that of the project and, where `optimizer._target_` or `schedule._target_` names a class of
    the user's own, the file that defines it.
    """
    classes = [find_class(group, getattr(config, group)["_target_"]) for group in TARGET_GROUPS]
    sources = [Path(inspect.getfile(each)) for each in classes]
    own = [hash_file(file) for file in sources if not file.resolve().is_relative_to(SOURCE)]
    content = json.dumps([normalize(flatten(config)), corpus_digest, code_digest(), *own], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def hash_file(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def normalize(value: Any) -> Any:
    """Return a value of a config with its whole numbers as integers: 0 and 0.0 set a key to the same value.

    >>> normalize({"weight_decay": 0.0, "split": [0.5, 1.0], "stateful": False})
    {'weight_decay': 0, 'split': [0.5, 1], 'stateful': False}
    """
    match value:
        case dict():
            return {key: normalize(each) for key, each in value.items()}
        case list() | tuple():
            return [normalize(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
