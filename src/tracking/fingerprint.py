"""Digests: of the project's own code, with which a run was computed, and of what makes two jobs the same."""

import hashlib
import json
from functools import cache
from pathlib import Path

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
    """What makes two jobs the same: config, data and code."""
    told = json.dumps([flatten(config), corpus_digest, code_digest()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
