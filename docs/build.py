"""Writes quoted code and the output of examples into the pages of docs/.

    python -m docs.build        (`make docs` also draws the figures)

A page names a quote in a comment on its own line: a whole function, or lines of it, found by their beginning.
The block after it is written:

    <!-- code: src/rnn/optimizers.py clip_norm -->
    <!-- code: src/rnn/loss.py log_softmax "z -= z.real" to "z -= np.log", "return" -->

Every other block marked `python` is an example. The examples of a page run in order in one namespace; the
block after an example has its output.
"""

import ast
import contextlib
import io
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import write_text

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
LESSONS = ("from-scratch.md", "backpropagation.md", "gated-cells.md", "training-and-sampling.md")
PAGES = (*LESSONS, "solutions.md", "python.md")

PART = re.compile(r'"([^"]+)"(?: to "([^"]+)")?')
QUOTE = re.compile(rf"<!-- code: (\S+) (\S+)((?:,? {PART.pattern})*) -->")
PRINTS = "<!-- prints -->"
FENCE = "```"


def render(page: str, name: str) -> str:
    """Return the updated page. Raises UserError for missing code and failing examples."""
    lines, out, namespace, at = page.split("\n"), [], dict[str, Any](), 0
    while at < len(lines):
        line, at = lines[at], at + 1
        out.append(line)
        if line.startswith("<!-- code:"):
            out += quotation(line, name)
            at = after_block(lines, at)
        elif line == FENCE + "python":
            end = lines.index(FENCE, at)
            printed = run("\n".join(lines[at:end]), f"{name}, example at line {len(out)}", namespace)
            out += lines[at : end + 1]
            at = end + 1
            if at < len(lines) and lines[at] == PRINTS:
                at = after_block(lines, at + 1)
            if printed:
                out += [PRINTS, FENCE + "text", *printed.rstrip("\n").split("\n"), FENCE]
    return "\n".join(out)


def after_block(lines: list[str], at: int) -> int:
    """Return the line after the block that starts at line `at` or after its caption; `at` without a block."""
    for begin in (at, at + 1):
        if begin < len(lines) and lines[begin].startswith(FENCE) and all(lines[at:begin]):
            return lines.index(FENCE, begin + 1) + 1
    return at


def quotation(mark: str, page: str) -> list[str]:
    """Return caption and block of a quote; `...` replaces omitted lines."""
    match = QUOTE.fullmatch(mark)
    if match is None:
        raise UserError(f'{page}: expected <!-- code: FILE FUNCTION "FIRST" to "LAST" -->, got {mark}')
    file, name, parts = match[1], match[2], PART.findall(match[3])
    try:
        code = function(PROJECT / file, name)
        found = [part(code, first, last) for first, last in parts] or [code]
    except (OSError, LookupError) as error:
        raise UserError(f"{page}: expected code to quote at {mark}, got {error}") from error
    lines = found[0]
    for more in found[1:]:
        lines += [" " * (len(more[0]) - len(more[0].lstrip())) + "...", *more]
    caption = f"[`{file}`](../{file}), {'in ' if parts else ''}`{name}`:"
    return [caption, FENCE + "python", *dedent("\n".join(lines)).split("\n"), FENCE]


def function(file: Path, name: str) -> list[str]:
    """Return the lines of a function or method (Class.method). Raises LookupError if it does not exist."""
    source = file.read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(source).body
    for step in name.split("."):
        found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        found = [node for node in found if node.name == step]
        if not found:
            raise LookupError(f"no {name} in {file.name}")
        body = found[0].body
    return source.split("\n")[found[0].lineno - 1 : found[0].end_lineno]


def part(code: list[str], first: str, last: str) -> list[str]:
    """Return the lines from the only line that starts with `first` to the next that starts with `last`.

    Raises LookupError without such a line, or with several for `first`.
    """
    begins = [k for k, line in enumerate(code) if line.strip().startswith(first)]
    if len(begins) != 1:
        raise LookupError(f"{len(begins)} lines that begin with {first!r}")
    ends = [k for k in range(begins[0], len(code)) if code[k].strip().startswith(last or first)]
    if not ends:
        raise LookupError(f"no line after it that begins with {last!r}")
    return code[begins[0] : ends[0] + 1]


def run(code: str, where: str, namespace: dict[str, Any]) -> str:
    """Return the output of an example."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, where, "exec"), namespace)
    except Exception as error:
        raise UserError(f"{where}: expected it to run, got {type(error).__name__}: {error}") from error
    return printed.getvalue()


def main() -> int:
    try:
        for name in PAGES:
            file = DOCS / name
            write_text(file, render(file.read_text(encoding="utf-8"), name))
    except (UserError, OSError) as error:
        echo_err(f"docs: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
