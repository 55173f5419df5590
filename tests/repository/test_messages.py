"""Every error has the form `key: expected ..., got ...`, and its text is unique."""

import re
from collections import Counter
from pathlib import Path

from docs.messages import ERRORS, messages

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
    texts = Counter(
        message.text for message in EVERY if message.function in ERRORS and has_words(message.text)
    )
    assert {text: count for text, count in texts.items() if count > 1} == {}


def test_messages_replace_values_by_placeholder(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        'raise UserError(f"{key}: expected " + "x" + f", got {a!r}")\necho_err("one" if a else "two")\n'
    )
    assert [(m.function, m.text) for m in messages(tmp_path)] == [
        ("UserError", "{...}: expected x, got {...}"),
        ("echo_err", "one / two"),
    ]
    assert [m.place.endswith(f":{line}") for line, m in enumerate(messages(tmp_path), 1)] == [True, True]
