"""Decisions that are made in one place of the source."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FILES = {
    str(file.relative_to(PROJECT)): file.read_text(encoding="utf-8")
    for file in (PROJECT / "src").rglob("*.py")
}


def files_with(pattern: str) -> set[str]:
    """Return the modules that match a pattern."""
    return {name for name, text in FILES.items() if re.search(pattern, text)}


def test_tracking_name_is_compared_once() -> None:
    """Other code uses `TrackingConfig.enabled` or `open_store`."""
    compared = r"""(==|!=|\bin|\bis) *[(\[{]?["'](none|mlflow)["']"""
    assert files_with(compared) == {"src/config/schema.py"}
    assert len(re.findall(compared, FILES["src/config/schema.py"])) == 1


def test_json_is_read_only_by_common_files() -> None:
    """Other code uses `read_json`, `load_json` and `parse_json`."""
    assert files_with(r"\bjson\.loads?\b") == {"src/common/files.py"}
