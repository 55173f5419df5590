"""The digest of this project's own code: what a run was computed with."""

import hashlib
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent


@cache
def code_digest() -> str:
    """SHA-256 over the name and the bytes of every module that a result depends on."""
    digest = hashlib.sha256()
    for file in sorted(f for part in ("rnn", "text", "lab") for f in (SOURCE / part).glob("*.py")):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
