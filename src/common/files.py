"""Files: paths as they are typed, atomic writes, and JSON that one function reads and validates."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import TypedDict  # pydantic rejects typing.TypedDict before Python 3.12

from src.common.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
CONF = PROJECT / "conf"
MAX_BYTES = 64 * 2**20  # JSON files of a run are far smaller: a larger file is not one of them

T = TypeVar("T")


def absolute(path: str) -> Path:
    """Return the absolute path of a path that a person typed.

    Args:
        path: A path, with `~` for the home folder; a relative one starts at the current directory of the
            process.

    Returns:
        The absolute path, with symbolic links as they are.
    """
    return Path(path).expanduser().absolute()


def sqlite_uri(file: Path) -> str:
    """Return the URI of an SQLite database.

    Args:
        file: Absolute path of its file.

    Returns:
        The URI, with `%`, `?` and other special characters quoted.

    Examples:
        >>> sqlite_uri(Path("/runs/100%/mlflow.db"))
        'sqlite:////runs/100%25/mlflow.db'
    """
    from sqlalchemy import URL  # takes 0.2 s to import; a run without tracking does not need it

    return URL.create("sqlite", database=str(file)).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database.

    Args:
        uri: URI of a store.

    Returns:
        The path as the URI gives it, absolute or relative; None where the URI names no SQLite file.

    Examples:
        >>> sqlite_file("sqlite:////runs/100%25/mlflow.db"), sqlite_file("http://127.0.0.1:5000")
        (PosixPath('/runs/100%/mlflow.db'), None)
    """
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(uri).database
    except ArgumentError:
        return None
    return Path(database) if database else None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file completely or not at all.

    Args:
        path: The file; missing parent folders are created.
        write: Function that writes the content to the path that it receives, a temporary file in the same
            folder. The file is then renamed to `path`.

    Raises:
        UserError: The file cannot be written; no temporary file remains.
    """  # noqa: DOC501 (`write_error` returns a UserError)
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
    """Write a text as UTF-8, completely or not at all (see `write_atomically`).

    Args:
        path: The file; missing parent folders are created.
        text: The content; its line ends are written unchanged.

    Raises:
        UserError: The file cannot be written.
    """
    # newline="": keep the line ends of the text unchanged
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", errors="surrogatepass", newline=""))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, completely or not at all (see `write_atomically`).

    Args:
        path: The file; missing parent folders are created.
        value: Any value that `json.dumps` accepts.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_block(page: str, name: str) -> str:
    """Return the part of a Markdown page between <!-- name --> and <!-- /name -->.

    Args:
        page: Text of the page.
        name: Name in the marks.

    Returns:
        The text between the two marks, with its line ends.

    Raises:
        ValueError: The page lacks one of the marks.
    """
    _, first, rest = page.partition(f"<!-- {name} -->")
    found, last, _ = rest.partition(f"<!-- /{name} -->")
    if not (first and last):
        raise ValueError(f"expected <!-- {name} --> and <!-- /{name} -->, got neither or one")
    return found


def write_block(file: Path, name: str, text: str) -> None:
    """Replace the part of a Markdown page between <!-- name --> and <!-- /name -->.

    Args:
        file: The page, a UTF-8 file.
        name: Name in the marks.
        text: The new text between the marks, with its line ends.

    Raises:
        ValueError: The page lacks one of the marks.
        UserError: The page cannot be written.
    """
    page = file.read_text(encoding="utf-8")
    current = f"<!-- {name} -->{read_block(page, name)}<!-- /{name} -->"
    write_text(file, page.replace(current, f"<!-- {name} -->{text}<!-- /{name} -->", 1))


def write_error(path: Path, error: OSError) -> UserError:
    """Return the one-line error for a file that cannot be written.

    Args:
        path: The file or directory.
        error: The error of the operating system, which gives the reason.

    Returns:
        The error, to be raised from `error`.
    """
    got = f"{path} ({error.strerror})"
    return UserError(f"expected a writable path, got {got}: change output_dir or data_dir")


def read_json(path: Path, schema: type[T], key: str = "run") -> T:
    """Read a JSON file and validate it.

    Args:
        path: The file.
        schema: Type of its content: a `TypedDict`, or a type like `dict[str, float]`. A key that the schema
            does not have is an error, and no value is converted to another type.
        key: Config key with which the error begins; "" for none.

    Returns:
        The content.

    Raises:
        UserError: The file is missing, larger than MAX_BYTES, not UTF-8, not JSON, or does not match the
            schema. The line names the file and the first problem.
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
    """Read a JSON file and validate it, with the exceptions of Python instead of a UserError.

    Args:
        path: The file.
        schema: Type of its content, as in `read_json`.

    Returns:
        The content.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is larger than MAX_BYTES, not JSON, or does not match the schema; the message is
            one line about the first problem.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, more than the limit of {MAX_BYTES:,}")
    return parse_json(path.read_bytes(), schema)


def parse_json(text: str | bytes, schema: type[T]) -> T:
    """Parse a JSON text and validate it.

    Args:
        text: The text; bytes are UTF-8.
        schema: Type of its content, as in `read_json`.

    Returns:
        The content.

    Raises:
        ValueError: The text is not JSON or does not match the schema; the message is one line with the place
            of the first problem and what it is.
    """
    value = decode_json(text)
    from pydantic import ValidationError  # takes 50 ms to import; training does not need it

    hashable: Any = schema
    try:
        checked: T = validator(hashable).validate_python(value, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise ValueError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from error
    return checked


def record_schema(**fields: Any) -> Any:
    """Build the schema of a JSON object that has exactly these fields.

    Args:
        **fields: Name and type of each field.

    Returns:
        A `TypedDict` for `read_json`, `load_json` and `parse_json`.
    """
    make: Any = TypedDict
    return make("Record", fields)


def decode_json(text: str | bytes) -> Any:
    """Parse a JSON text whose content the caller checks.

    Args:
        text: The text; bytes are UTF-8.

    Returns:
        The content, not validated.

    Raises:
        ValueError: The text is not JSON, not UTF-8, or has too many nested brackets.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error


@cache
def validator(schema: Any) -> Any:
    """Build the pydantic validator of a schema, once per schema: it takes milliseconds.

    Args:
        schema: Type of the values to validate; must be hashable.

    Returns:
        The `pydantic.TypeAdapter` of the schema.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(schema)
