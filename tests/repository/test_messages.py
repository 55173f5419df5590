"""Every error has the form `key: expected ..., got ...`, and its text is unique."""

import ast
import re
from collections import Counter
from pathlib import Path

from docs.messages import ERRORS, PROJECT, messages

EVERY = list(messages())


def has_words(text: str) -> bool:
    """Return whether a message is written at its place, not only passed on."""
    return len(re.findall(r"[a-z]{3,}", text)) > 2


def test_errors_have_expected_and_got() -> None:
    errors = [message for message in EVERY if message.function == "UserError" and has_words(message.text)]
    assert len(errors) > 60
    form = re.compile(r"expected .*, got ")
    assert [f"{message.place}: {message.text}" for message in errors if not form.search(message.text)] == []


def test_error_messages_are_unique() -> None:
    texts = [message.text for message in EVERY if message.function in ERRORS and has_words(message.text)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_messages_replace_values_by_placeholder(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        'raise UserError(f"{key}: expected " + "x" + f", got {a!r}")\necho_err("one" if a else "two")\n'
    )
    assert [(m.function, m.text) for m in messages(tmp_path)] == [
        ("UserError", "{...}: expected x, got {...}"),
        ("echo_err", "one / two"),
    ]
    assert [m.place.endswith(f":{line}") for line, m in enumerate(messages(tmp_path), 1)] == [True, True]


def test_values_in_printed_commands_are_quoted() -> None:
    """A command that is printed to be typed works with any folder name."""
    values: list[str] = []
    for file in sorted((PROJECT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            command = False
            for part in node.values if isinstance(node, ast.JoinedStr) else []:
                if isinstance(part, ast.Constant):
                    command |= bool(re.search(r"python -m src\.\w+ (?!without)", str(part.value)))
                elif command and isinstance(part, ast.FormattedValue):
                    values.append(ast.unparse(part.value))
    assert len(values) >= 6
    assert [value for value in values if not value.startswith("shlex.")] == []
