"""List every error message and progress line of the project, in the order of the code.

    python -m docs.messages

Each line has the place and the text; {...} stands for a value. Read the list as a whole before a release: the
same thing has the same words in every message.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ERRORS = ("UserError", "DivergenceError", "StoreUnreachable", "invalid_value_error")
LINES = ("echo_err", "print")


@dataclass(frozen=True)
class Message:
    """A message in the source code.

    Attributes:
        place: File and line.
        function: What prints or raises it.
        text: The message; "" where it is not written at this place.
    """

    place: str
    function: str
    text: str


def read_text(node: ast.expr) -> str:
    """Return a string expression as text.

    Args:
        node: The expression.

    Returns:
        Its characters, with {...} for each value; only {...} if it is no string expression.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(read_text, parts))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return read_text(left) + read_text(right)
        case ast.IfExp(body=body, orelse=other):
            return f"{read_text(body)} / {read_text(other)}"
    return "{...}"


def messages(folder: Path = PROJECT / "src") -> Iterator[Message]:
    """Yield the messages of a source tree.

    Args:
        folder: Its root.

    Yields:
        Each message that is printed or raised.
    """
    for file in sorted(folder.rglob("*.py")):
        calls = [n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        for call in sorted(calls, key=lambda call: call.lineno):
            function = ast.unparse(call.func).rpartition(".")[2]
            if function in (*ERRORS, *LINES) and call.args:
                parts = [read_text(argument) for argument in call.args]
                yield Message(f"{file.relative_to(folder.parent)}:{call.lineno}", function, ": ".join(parts))


def main() -> None:
    """Print the list."""
    for message in messages():
        print(f"{message.place}: {message.text.strip()}")


if __name__ == "__main__":
    main()
