"""Files that are there whole or not at all: written under a temporary name, then renamed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.common.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it.

    Raises UserError when the place cannot be written to; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """A text as UTF-8, whole or not at all. Raises UserError like write_atomically."""
    # newline="": what was written is read back to the byte, whatever line ends the text has
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", errors="surrogatepass", newline=""))


def write_json(path: Path, value: Any) -> None:
    """A value as JSON, likewise."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_error(path: Path, error: OSError) -> UserError:
    """The one line for a place that cannot be written to."""
    return UserError(
        f"expected a place to write to, got {path} ({error.strerror}): change output_dir or data_dir"
    )
