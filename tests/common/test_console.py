import pytest

from src.common.console import WIDTH, format_table


def test_table_is_aligned_and_keeps_brackets() -> None:
    table = format_table(("", "bits", "interval"), [("a", "1.5", "[1, 2]"), ("b: long", "12.25")])
    assert table.splitlines() == ["          bits  interval", "a          1.5    [1, 2]", "b: long  12.25"]


def test_table_does_not_depend_on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("word " * 40, "1")]
    table = format_table(("", "number"), rows)
    assert max(map(len, table.splitlines())) <= WIDTH
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert format_table(("", "number"), rows) == table
