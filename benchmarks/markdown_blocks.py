"""The parts of a page that a command writes: between <!-- name --> and <!-- /name -->."""

from pathlib import Path

from src.common.files import write_text


def between(page: str, name: str) -> str:
    """What stands there. Raises ValueError where the marks do not."""
    _, first, rest = page.partition(f"<!-- {name} -->")
    found, last, _ = rest.partition(f"<!-- /{name} -->")
    if not (first and last):
        raise ValueError(f"expected <!-- {name} --> and <!-- /{name} -->, got neither or one")
    return found


def write_between(file: Path, name: str, text: str) -> None:
    """Put `text` there. Raises ValueError where the marks do not stand."""
    page = file.read_text(encoding="utf-8")
    now = f"<!-- {name} -->{between(page, name)}<!-- /{name} -->"
    write_text(file, page.replace(now, f"<!-- {name} -->{text}<!-- /{name} -->", 1))
