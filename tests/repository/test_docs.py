"""The pages of docs/: quotations are the source, outputs are what is printed, links lead to something."""

import re
from pathlib import Path

import pytest

from docs import build, examples
from docs.build import DOCS, FENCE, PAGES, PRINTS, run, written
from src.common.errors import UserError

ALL = sorted(DOCS.glob("*.md"))  # of others, too
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
    """A project with one module, in the place of this one."""
    monkeypatch.setattr(build, "PROJECT", tmp_path)
    file = tmp_path / "src" / "box.py"
    file.parent.mkdir()
    file.write_text(SOURCE, encoding="utf-8")
    return file


def prose(page: str) -> str:
    """A page without its blocks of code, its code within lines and its formulas."""
    without = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$", "", without, flags=re.DOTALL)


def anchors(page: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    without = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", without, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_quoted_code_is_the_source_and_examples_print_what_stands_below_them(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert written(page, name) == page, "`make docs` writes it again"


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_are_one_program_that_prints_what_the_page_says(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    program = examples.examples(page)
    said = re.findall(rf"^{PRINTS}\n{FENCE}text\n(.*?)^{FENCE}$", page, flags=re.MULTILINE | re.DOTALL)
    assert run(program, name, {}) == "".join(said)
    assert len(said) == page.count(PRINTS)


def test_what_is_quoted_is_no_example_and_a_page_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        examples.examples(f"{QUOTED}\n\n{example('a = 2')}\n\n{example('print(a)', '2')}")
        == "a = 2\n\nprint(a)\n"
    )
    for typed in ([], ["texts"], ["backpropagation", "texts"]):
        monkeypatch.setattr("sys.argv", ["examples", *typed])
        assert examples.main() == 2
        assert "examples: expected one page of from-scratch, " in capsys.readouterr().err


@pytest.mark.parametrize("name", PAGES)
def test_every_page_quotes_has_examples_and_is_reached_from_the_first(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page.count("<!-- code:") >= 5
    assert page.count(PRINTS) >= 2
    assert name == PAGES[0] or f"]({name})" in (DOCS / PAGES[0]).read_text(encoding="utf-8")


def test_a_quotation_is_written_behind_its_mark_and_follows_the_source(source: Path) -> None:
    assert written(f"before\n\n{MARK}\n\nbehind", "page") == f"before\n\n{QUOTED}\n\nbehind"
    assert written(f"{QUOTED}\n\nbehind", "page") == f"{QUOTED}\n\nbehind"
    source.write_text(SOURCE.replace("narrow", "too narrow"), encoding="utf-8")
    assert written(f"{QUOTED}\n\nbehind", "page") == f"{QUOTED}\n\nbehind".replace("narrow", "too narrow")


@pytest.mark.usefixtures("source")
def test_a_quotation_is_one_line_several_passages_or_a_whole_function() -> None:
    one = written('<!-- code: src/box.py area "return" -->', "page")
    assert one.endswith("in `area`:\n```python\nreturn width * height\n```")
    two = written('<!-- code: src/box.py area "raise", "return" -->', "page")
    assert two.endswith('```python\n    raise ValueError("narrow")\n...\nreturn width * height\n```')
    whole = written("<!-- code: src/box.py Box.volume -->", "page")
    assert whole.endswith("`Box.volume`:\n```python\ndef volume(self):\n    return 1\n```")


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ("<!-- code: src/sphere.py area -->", "No such file"),
        ("<!-- code: src/box.py volume -->", "no volume in box.py"),
        ("<!-- code: src/box.py Box.area -->", "no Box.area in box.py"),
        ('<!-- code: src/box.py area "width" -->', "0 lines that begin with 'width'"),
        ('<!-- code: src/box.py area "r" -->', "2 lines that begin with 'r'"),
        ('<!-- code: src/box.py area "return" to "raise" -->', "no line behind it"),
        ("<!-- code: src/box.py -->", "FILE FUNCTION"),
    ],
)
@pytest.mark.usefixtures("source")
def test_an_anchor_that_is_gone_is_named(mark: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as refused:
        written(f"before\n{mark}\nbehind", "page.md")
    assert "page.md" in str(refused.value)
    assert mark in str(refused.value)


def example(code: str, prints: str = "") -> str:
    block = f"{FENCE}python\n{code}\n{FENCE}"
    return f"{block}\n{PRINTS}\n{FENCE}text\n{prints}\n{FENCE}" if prints else block


def test_examples_run_in_order_in_one_namespace() -> None:
    page = "\n\n".join((example("a = 2"), "then", example("print(a + 1)\nprint(a)"), example("print(-a)")))
    expected = (
        example("a = 2"),
        "then",
        example("print(a + 1)\nprint(a)", "3\n2"),
        example("print(-a)", "-2"),
    )
    assert written(page, "page") == "\n\n".join(expected)


def test_an_output_that_is_no_longer_printed_is_mended() -> None:
    assert written(example("print(3)", "4\n5") + "\n\nend", "page") == example("print(3)", "3") + "\n\nend"
    assert written(example("a = 3", "4") + "\n\nend", "page") == example("a = 3") + "\n\nend"


def test_an_example_that_fails_is_named() -> None:
    with pytest.raises(UserError, match=r"page\.md, example at line 3: .* ZeroDivisionError"):
        written(f"one\n\n{example('1 / 0')}", "page.md")


def test_the_command_writes_the_pages_and_complains_in_one_line(
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
def test_a_page_opens_with_what_its_reader_can_do_after_it(file: Path) -> None:
    heading, _, text = file.read_text(encoding="utf-8").partition("\n\n")
    assert heading.startswith("# ")
    assert text.startswith("After this page you can ")


def test_figures_are_there_and_shown() -> None:
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
