"""Files: paths as they are typed, atomic writes, and JSON that one function reads and validates."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypedDict  # pydantic rejects typing's before Python 3.12

from src.common.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"
MAX_BYTES = 64 * 2**20  # no JSON file of a run comes near: a larger one is not what its name says

T = TypeVar("T")


def absolute(path: str) -> Path:
    """Return the absolute path of one that was typed, relative to where the command was started."""
    return Path(path).expanduser().absolute()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file as a whole or not at all.

    Args:
        path: The file.
        write: Writes a temporary file in the same folder, which is then renamed.

    Raises:
        UserError: The file cannot be written; no temporary file remains.
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
    """Write a text as UTF-8, as `write_atomically` does."""
    # newline="": what was written is read back to the byte, whatever line ends the text has
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", errors="surrogatepass", newline=""))


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, as `write_atomically` does."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_block(page: str, name: str) -> str:
    """Return the part of a Markdown page between <!-- name --> and <!-- /name -->.

    Raises:
        ValueError: The page lacks the marks.
    """
    _, first, rest = page.partition(f"<!-- {name} -->")
    found, last, _ = rest.partition(f"<!-- /{name} -->")
    if not (first and last):
        raise ValueError(f"expected <!-- {name} --> and <!-- /{name} -->, got neither or one")
    return found


def write_block(file: Path, name: str, text: str) -> None:
    """Replace the part of a Markdown page between <!-- name --> and <!-- /name -->.

    Raises:
        ValueError: The page lacks the marks.
    """
    page = file.read_text(encoding="utf-8")
    current = f"<!-- {name} -->{read_block(page, name)}<!-- /{name} -->"
    write_text(file, page.replace(current, f"<!-- {name} -->{text}<!-- /{name} -->", 1))


def write_error(path: Path, error: OSError) -> UserError:
    """Return the one-line error for a file that cannot be written."""
    return UserError(
        f"expected a writable path, got {path} ({error.strerror}): change output_dir or data_dir"
    )


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
        raise ValueError(f"{size:,} bytes, more than the limit of {MAX_BYTES:,}")
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


def record_schema(**fields: Any) -> Any:
    """Build the schema of a JSON object that has exactly these fields, given as name=type."""
    make: Any = TypedDict
    return make("Record", fields)


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
    """Build the pydantic validator of a schema, once: it takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(schema)
