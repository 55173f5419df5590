"""The blocks of a page of docs/ that a test follows: files, edits, commands, and what those say.

A block is fenced, behind a comment that a reader of the page does not see:

    <!-- new: PATH -->      the whole of a new file
    <!-- edit: PATH -->     lines that come (+), go (-) or are there (space), which stand in the file once
    <!-- run -->            commands, a line each, which end with status 0; <!-- run: 2 -->: with 2
    <!-- says -->           lines that stand in what the commands before printed
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
LINE = r"^(?:then |else |[A-Z_]+=\S+ )*(python -m src\.\w+(?: .*)?)$"  # of a fenced block
INLINE = r"`(python -m src\.\w+(?: [^`]*)?)`"


@dataclass(frozen=True)
class Block:
    """kind: new, edit, run or says. about: the path, or the exit status. text: what is in the fence."""

    kind: str
    about: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Every block, in order. Raises AssertionError for a marker that no fence follows."""
    matches = [Block(kind, about or "", body) for kind, about, body in BLOCK.findall(text)]
    assert len(matches) == len(re.findall(r"^<!-- (?:new|edit|run|says)\b", text, re.MULTILINE))
    return matches


def apply(block: Block, root: Path) -> None:
    """Make the file or the edit below `root`. Raises AssertionError where the page no longer fits."""
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
    """The words of every command of ours on a page, behind `python -m`; what is behind # is a remark."""
    matches = re.findall(LINE, text, re.MULTILINE) + re.findall(INLINE, text)
    return [shlex.split(line, comments=True)[2:] for line in matches]


def rows(text: str, mark: str, with_heading: bool = False) -> list[list[str]]:
    """The cells of the table behind <!-- mark -->."""
    matches = re.search(rf"^<!-- {mark} -->\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert matches, mark
    lines = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in matches[1].splitlines()
    ]
    return [lines[0], *lines[2:]] if with_heading else lines[2:]


def names_in_backticks(cell: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`]+)`", cell))


@cache
def constants() -> dict[Path, list[str]]:
    """The texts of each module of ours; what is filled in stands as a zero byte."""
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
