"""Pages of docs/: quotes match the source, examples print the shown output, links resolve."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from docs import build, examples
from docs.build import DOCS, FENCE, LESSONS, PAGES, PRINTS, render, run
from docs.diagrams import DIAGRAMS, svg
from src.common.errors import UserError

ALL = sorted(DOCS.glob("*.md"))  # all pages
FIGURE = re.compile(r"!\[[^\]]+\]\(figures/([^)]+)\)")

SOURCE = '''
def area(width, height):
    """Of a rectangle."""
    if width < 0:
        raise ValueError("narrow")
    return width * height


class Box:
    def volume(self):
        return 1
'''
MARK = '<!-- code: src/box.py area "if width" to "raise" -->'
QUOTED = f"""{MARK}
[`src/box.py`](../src/box.py), in `area`:
```python
if width < 0:
    raise ValueError("narrow")
```"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one module, instead of this project."""
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    file = tmp_path / "src" / "box.py"
    file.parent.mkdir()
    file.write_text(SOURCE, encoding="utf-8")
    return file


def example(code: str, prints: str = "") -> str:
    block = f"{FENCE}python\n{code}\n{FENCE}"
    return f"{block}\n{PRINTS}\n{FENCE}text\n{prints}\n{FENCE}" if prints else block


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert render(page, name) == page, "out of date: make docs"
    assert page.count("<!-- code:") >= 5 or name not in LESSONS
    assert page.count(PRINTS) >= 2
    assert name in (PAGES[0], "python.md") or f"]({name})" in (DOCS / PAGES[0]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_examples_form_one_program(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    outputs = re.findall(rf"^{PRINTS}\n{FENCE}text\n(.*?)^{FENCE}$", page, flags=re.MULTILINE | re.DOTALL)
    assert run(examples.examples(page), name, {}) == "".join(outputs)


def test_examples_exclude_quotes_and_unknown_pages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = f"{QUOTED}\n\n{example('a = 2')}\n\n{example('print(a)', '2')}"
    assert examples.examples(page) == "a = 2\n\nprint(a)\n"
    for arguments in ([], ["texts"], ["backpropagation", "texts"]):
        monkeypatch.setattr("sys.argv", ["examples", *arguments])
        assert examples.main() == 2
        assert "examples: expected one page of from-scratch, " in capsys.readouterr().err


def test_quote_follows_source(source: Path) -> None:
    for page in (MARK, QUOTED):
        assert render(f"before\n\n{page}\n\nbehind", "page") == f"before\n\n{QUOTED}\n\nbehind"
    source.write_text(SOURCE.replace("narrow", "too narrow"), encoding="utf-8")
    assert render(QUOTED, "page") == QUOTED.replace("narrow", "too narrow")


@pytest.mark.parametrize(
    ("words", "quote"),
    [
        ('area "return"', "return width * height"),
        ('area "raise", "return"', '    raise ValueError("narrow")\n...\nreturn width * height'),
        ("Box.volume", "def volume(self):\n    return 1"),
    ],
)
@pytest.mark.usefixtures("source")
def test_quote_of_lines_passages_and_functions(words: str, quote: str) -> None:
    name = words.partition(" ")[0]
    expected = f"in `{name}`:\n```python\n{quote}\n```".replace("in `Box.volume`", "`Box.volume`")
    assert render(f"<!-- code: src/box.py {words} -->", "page").endswith(expected)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("<!-- code: src/sphere.py area -->", "No such file"),
        ("<!-- code: src/box.py volume -->", "no volume in box.py"),
        ("<!-- code: src/box.py Box.area -->", "no Box.area in box.py"),
        ('<!-- code: src/box.py area "width" -->', "0 lines that begin with 'width'"),
        ('<!-- code: src/box.py area "r" -->', "2 lines that begin with 'r'"),
        ('<!-- code: src/box.py area "return" to "raise" -->', "no line after it"),
        ("<!-- code: src/box.py -->", "FILE FUNCTION"),
    ],
)
@pytest.mark.usefixtures("source")
def test_missing_anchor_is_reported(mark: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"page\.md.*{message}") as error:
        render(f"before\n{mark}\nbehind", "page.md")
    assert mark in str(error.value)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            [example("a = 2"), "then", example("print(a + 1)\nprint(a)"), example("print(-a)")],
            [example("a = 2"), "then", example("print(a + 1)\nprint(a)", "3\n2"), example("print(-a)", "-2")],
        ),
        ([example("print(3)", "4\n5"), "end"], [example("print(3)", "3"), "end"]),
        ([example("a = 3", "4"), "end"], [example("a = 3"), "end"]),
    ],
    ids=["one namespace", "other output", "no output"],
)
def test_output_of_examples_is_written(page: list[str], expected: list[str]) -> None:
    assert render("\n\n".join(page), "page") == "\n\n".join(expected)


def test_failing_example_is_reported() -> None:
    with pytest.raises(UserError, match=r"page\.md, example at line 3: .* ZeroDivisionError"):
        render(f"one\n\n{example('1 / 0')}", "page.md")


def test_build_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "DOCS", tmp_path)
    monkeypatch.setattr(build, "PAGES", ("page.md",))
    page = tmp_path / "page.md"
    page.write_text(example("print(3)"), encoding="utf-8")
    assert build.main() == 0
    assert page.read_text(encoding="utf-8") == example("print(3)", "3")
    page.write_text("<!-- code: src/rnn/loss.py nothing -->", encoding="utf-8")
    assert build.main() == 2
    page.unlink()
    assert build.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("docs: ") for line in lines)


def test_pages_start_with_learning_goal() -> None:
    for file in ALL:
        assert re.match(r"# .*\n\nAfter this page you can ", file.read_text(encoding="utf-8")), file


def test_figures_exist_and_are_used() -> None:
    shown = {name for page in ALL for name in FIGURE.findall(page.read_text(encoding="utf-8"))}
    sizes = {file.name: file.stat().st_size for file in (DOCS / "figures").iterdir()}
    assert shown == sizes.keys()
    assert len(shown) >= 5
    assert all(5_000 < size < 200_000 for size in sizes.values())


def test_every_figure_has_a_function_that_draws_it() -> None:
    drawing = (DOCS / "figures.py").read_text(encoding="utf-8")
    drawn = re.findall(r"^DRAWN = \((.*)\)$", drawing, re.MULTILINE)[0].split(", ")
    files = {file.name for file in (DOCS / "figures").iterdir()}
    assert {f"{name}.png" for name in drawn} | {f"{diagram.__name__}.svg" for diagram in DIAGRAMS} == files
    assert all(f"def {name}(corpus: Corpus) -> Figure:" in drawing for name in drawn)


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=lambda diagram: diagram.__name__)
def test_diagram_is_up_to_date_with_title_and_description(diagram: Callable[[], Figure]) -> None:
    image = (DOCS / "figures" / f"{diagram.__name__}.svg").read_text(encoding="utf-8")
    assert image == svg(diagram), "out of date: make docs"
    root = ElementTree.fromstring(image)
    texts = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
    assert root.get("role") == "img"
    assert 10 < len(texts["title"]) < 60
    assert len(texts["desc"]) > 200
    assert texts["desc"].startswith(texts["title"])
