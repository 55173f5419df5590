"""JSON files, each read by one function that checks types, keys and size against a schema."""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from src.common.errors import UserError

MAX_BYTES = 64 * 2**20  # no file of a run comes near: a larger one is not what its name says

T = TypeVar("T")


def read_json(path: Path, schema: type[T], key: str = "run") -> T:
    """Read a JSON file and validate it.

    Args:
        path: The file.
        schema: Type of its content: a `TypedDict`, or a type like `dict[str, float]`. Keys that it does
            not have are errors, and no value is converted to another type.
        key: The config key that the error begins with; "" for none.

    Returns:
        The content.

    Raises:
        UserError: The file is missing, larger than MAX_BYTES, not UTF-8, not JSON, or not as the schema
            says. The line names the file and the first problem.
    """
    try:
        return load_json(path, schema)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        prefix = f"{key}: " if key else ""
        raise UserError(
            f"{prefix}expected a whole {path.name}, got a damaged one in {path.parent} ({reason})"
        ) from error


def load_json(path: Path, schema: type[T]) -> T:
    """Read a JSON file and validate it, as `read_json` does.

    Raises:
        OSError: It cannot be read.
        ValueError: One line: the first problem.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, at most {MAX_BYTES:,} are read")
    return parse_json(path.read_bytes(), schema)


def parse_json(text: str | bytes, schema: type[T]) -> T:
    """Parse a JSON text and validate it, as `read_json` does.

    Raises:
        ValueError: One line: the place of the first problem in the text, and what it is.
    """
    value = decode_json(text)
    from pydantic import ValidationError  # takes 50 ms to import, which no training waits for

    hashable: Any = schema
    try:
        checked: T = validator(hashable).validate_python(value, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise ValueError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    return checked


def decode_json(text: str | bytes) -> Any:
    """Parse a JSON text whose content the caller compares with what it must be.

    Raises:
        ValueError: It is not JSON, or not UTF-8.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error


@cache
def validator(schema: Any) -> Any:
    """The pydantic validator of a schema. It takes milliseconds to build, so each is built once."""
    from pydantic import TypeAdapter

    return TypeAdapter(schema)
