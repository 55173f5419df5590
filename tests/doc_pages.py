"""The blocks of a documentation page that tests execute: files, edits, commands and expected output.

A fenced block follows a hidden comment:

    <!-- new: PATH -->      content of a new file
    <!-- edit: PATH -->     added (+), removed (-) and context lines of an edit; the context is unique
    <!-- run -->            commands, one per line, with exit status 0; <!-- run: 2 -->: with 2
    <!-- says -->           lines of the output of the preceding commands
"""

import ast
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"
BLOCK = re.compile(r"^<!-- (new|edit|run|says)(?:: (\S+))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = r"^(?:then |else |[A-Z_]+=\S+ )*(python -m src\.\w+(?: .*)?)$"  # line of a fenced block
INLINE = r"`(python -m src\.\w+(?: [^`]*)?)`"


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        kind: new, edit, run or says.
        about: The path, or the exit status.
        text: The content of the fence.
    """

    kind: str
    about: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Return all blocks in order. Raises AssertionError for a marker without a fence."""
    found = [Block(kind, about or "", body) for kind, about, body in BLOCK.findall(text)]
    assert len(found) == len(re.findall(r"^<!-- (?:new|edit|run|says)\b", text, re.MULTILINE))
    return found


def apply(block: Block, root: Path) -> None:
    """Create the file or apply the edit below `root`. Raises AssertionError if the edit does not match."""
    file = root / block.about
    if block.kind == "new":
        assert not file.exists(), f"{block.about} exists already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
        return
    assert all(line[:1] in {"", " ", "+", "-"} for line in block.lines), block.text
    before, after = (
        "".join(f"{line[1:]}\n" for line in block.lines if line[:1] in {"", " ", sign}) for sign in "-+"
    )
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{block.about} has {text.count(before)} times:\n{before}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    """Return the words after `python -m` of every project command on a page, without comments."""
    matches = re.findall(LINE, text, re.MULTILINE) + re.findall(INLINE, text)
    return [shlex.split(line, comments=True)[2:] for line in matches]


def rows(text: str, mark: str, with_heading: bool = False) -> list[list[str]]:
    """Return the cells of the table after <!-- mark -->."""
    match = re.search(rf"^<!-- {mark} -->\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert match, mark
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in match[1].splitlines()]
    return [lines[0], *lines[2:]] if with_heading else lines[2:]


def names_in_backticks(cell: str) -> set[str]:
    """Return the texts in backticks."""
    return set(re.findall(r"`([^`]+)`", cell))


@cache
def constants() -> dict[Path, list[str]]:
    """Return the string constants of each module in src, with a zero byte for each inserted value."""
    return {
        file: [template(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
               if isinstance(node, ast.JoinedStr | ast.Constant)]
        for file in (PROJECT / "src").rglob("*.py")
    }  # fmt: skip


def template(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "\0"


def in_source(name: str) -> bool:
    return any(name in text for texts in constants().values() for text in texts)
