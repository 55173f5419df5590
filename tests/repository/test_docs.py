"""Pages of docs/: quotes match the source, examples print the shown output, links resolve."""

import re
from pathlib import Path

import pytest

from docs import build, examples
from docs.build import DOCS, FENCE, PAGES, PRINTS, render, run
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


def prose(page: str) -> str:
    """Return a page without code blocks, inline code and formulas."""
    without = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", "", without, flags=re.DOTALL)


def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub makes of headings."""
    without = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert render(page, name) == page, "out of date: make docs"


@pytest.mark.parametrize("name", PAGES)
def test_examples_form_one_program(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    program = examples.examples(page)
    outputs = re.findall(rf"^{PRINTS}\n{FENCE}text\n(.*?)^{FENCE}$", page, flags=re.MULTILINE | re.DOTALL)
    assert run(program, name, {}) == "".join(outputs)
    assert len(outputs) == page.count(PRINTS)


def test_examples_exclude_quotes_and_unknown_pages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        examples.examples(f"{QUOTED}\n\n{example('a = 2')}\n\n{example('print(a)', '2')}")
        == "a = 2\n\nprint(a)\n"
    )
    for arguments in ([], ["texts"], ["backpropagation", "texts"]):
        monkeypatch.setattr("sys.argv", ["examples", *arguments])
        assert examples.main() == 2
        assert "examples: expected one page of from-scratch, " in capsys.readouterr().err


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_quotes_examples_and_link(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page.count("<!-- code:") >= 5
    assert page.count(PRINTS) >= 2
    assert name == PAGES[0] or f"]({name})" in (DOCS / PAGES[0]).read_text(encoding="utf-8")


def test_quote_follows_source(source: Path) -> None:
    assert render(f"before\n\n{MARK}\n\nbehind", "page") == f"before\n\n{QUOTED}\n\nbehind"
    assert render(f"{QUOTED}\n\nbehind", "page") == f"{QUOTED}\n\nbehind"
    source.write_text(SOURCE.replace("narrow", "too narrow"), encoding="utf-8")
    assert render(f"{QUOTED}\n\nbehind", "page") == f"{QUOTED}\n\nbehind".replace("narrow", "too narrow")


@pytest.mark.usefixtures("source")
def test_quote_of_lines_passages_and_functions() -> None:
    one = render('<!-- code: src/box.py area "return" -->', "page")
    assert one.endswith("in `area`:\n```python\nreturn width * height\n```")
    two = render('<!-- code: src/box.py area "raise", "return" -->', "page")
    assert two.endswith('```python\n    raise ValueError("narrow")\n...\nreturn width * height\n```')
    whole = render("<!-- code: src/box.py Box.volume -->", "page")
    assert whole.endswith("`Box.volume`:\n```python\ndef volume(self):\n    return 1\n```")


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
    with pytest.raises(UserError, match=message) as error:
        render(f"before\n{mark}\nbehind", "page.md")
    assert "page.md" in str(error.value)
    assert mark in str(error.value)


def example(code: str, prints: str = "") -> str:
    block = f"{FENCE}python\n{code}\n{FENCE}"
    return f"{block}\n{PRINTS}\n{FENCE}text\n{prints}\n{FENCE}" if prints else block


def test_examples_share_namespace() -> None:
    page = "\n\n".join((example("a = 2"), "then", example("print(a + 1)\nprint(a)"), example("print(-a)")))
    expected = (
        example("a = 2"),
        "then",
        example("print(a + 1)\nprint(a)", "3\n2"),
        example("print(-a)", "-2"),
    )
    assert render(page, "page") == "\n\n".join(expected)


def test_outdated_output_is_replaced() -> None:
    assert render(example("print(3)", "4\n5") + "\n\nend", "page") == example("print(3)", "3") + "\n\nend"
    assert render(example("a = 3", "4") + "\n\nend", "page") == example("a = 3") + "\n\nend"


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


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.name)
def test_page_starts_with_learning_goal(file: Path) -> None:
    heading, _, text = file.read_text(encoding="utf-8").partition("\n\n")
    assert heading.startswith("# ")
    assert text.startswith("After this page you can ")


def test_figures_exist_and_are_used() -> None:
    shown = {name for page in ALL for name in FIGURE.findall(page.read_text(encoding="utf-8"))}
    kept = {file.name: file for file in (DOCS / "figures").iterdir()}
    assert shown == kept.keys()
    assert len(shown) >= 5
    assert all(5_000 < file.stat().st_size < 200_000 for file in kept.values())


def test_every_figure_has_a_function_that_draws_it() -> None:
    drawing = (DOCS / "figures.py").read_text(encoding="utf-8")
    drawn = re.findall(r"^DRAWN = \((.*)\)$", drawing, re.MULTILINE)[0].split(", ")
    assert {f"{name}.png" for name in drawn} <= {file.name for file in (DOCS / "figures").iterdir()}
    assert all(f"def {name}(corpus: Corpus) -> Figure:" in drawing for name in drawn)
