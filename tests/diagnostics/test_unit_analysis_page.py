"""neurons.html: its data, its size, and its behavior in a browser."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.common.files import write_text
from src.data.corpus import Corpus, bounds_of
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.diagnostics.unit_analysis import CHARACTERS, TOP_K, collect_activations, render_page, top_k
from src.rnn.parameters import Array, RNNConfig, initialize
from tests.page_checks import check_layout

BROWSER_TIMEOUT_MS = 600_000  # milliseconds
TEXT = 'She said: "the <b>sea</b>\nis & was" </script>\u2028 \U0001f30a; '
SPLIT = (0.5, 0.2, 0.3)


def corpus_of(text: str, split: tuple[float, float, float] = SPLIT) -> Corpus:
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    plain = Normalization(False, False, False)
    return Corpus(Path("unused"), "sea", "0" * 64, vocabulary, plain, tokens, bounds_of(tokens.size, split))


def network(corpus: Corpus, hidden: int = 6, cell: str = "rnn", layers: int = 1) -> tuple[RNNConfig, Array]:
    architecture = RNNConfig(len(corpus.vocabulary), hidden, cell, layers)
    rng = np.random.default_rng(0)
    flat = initialize(architecture, "uniform", rng)
    return architecture, flat + rng.normal(0, 0.3, flat.size).astype(np.float32)


def data_of(html: str) -> dict[str, Any]:
    """Return the data of the page's script."""
    (line,) = re.findall(r"^const data = (.*);$", html, re.MULTILINE)
    data: dict[str, Any] = json.loads(line)
    return data


def numbers(packed: str, dtype: str, columns: int) -> Array:
    return np.frombuffer(base64.b64decode(packed), dtype).reshape(-1, columns)


@pytest.mark.parametrize(("cell", "layers"), [("rnn", 1), ("gru", 1), ("lstm", 2)])
def test_page_data_equals_activations(cell: str, layers: int) -> None:
    corpus = corpus_of(TEXT * 40)
    architecture, flat = network(corpus, 6, cell, layers)
    html = render_page("r", architecture, flat, corpus)
    data, tokens = data_of(html), corpus.split("test")
    computed, probabilities = collect_activations(architecture, flat, tokens)
    (ids,) = numbers(data["ids"], "<u2", tokens.size)
    assert corpus.vocabulary.decode(ids) == corpus.vocabulary.decode(tokens)
    assert data["characters"] == list(corpus.vocabulary.characters)
    activations = numbers(data["activations"], "<i1", tokens.size)
    assert len(activations) == len(data["units"]) == 6 * layers
    assert {(unit["layer"], unit["number"]) for unit in data["units"]} == {
        (layer, number) for layer in range(1, layers + 1) for number in range(6)
    }
    for unit, row in zip(data["units"], activations / 127, strict=True):
        exact = computed[(unit["layer"] - 1) * 6 + unit["number"]]
        assert unit["scale"] == pytest.approx(abs(exact).max(), rel=5e-5)  # five digits
        step = unit["scale"] / 127  # quantization step
        np.testing.assert_allclose(row * unit["scale"], exact, rtol=5e-5, atol=0.501 * step)
    scores = [unit["r"] ** 2 for unit in data["units"]]
    # r has four digits
    np.testing.assert_array_less(scores[1:], np.array(scores[:-1]) + 2.1e-4)
    likeliest = numbers(data["likeliest"], "<u2", TOP_K)
    shares = numbers(data["shares"], "<u2", TOP_K) / 65535
    exact = -np.sort(-probabilities, axis=1)[:, :TOP_K]
    np.testing.assert_allclose(shares, exact, rtol=0, atol=0.501 / 65535)  # quantization step
    np.testing.assert_allclose(np.take_along_axis(probabilities, likeliest, axis=1), exact)


def test_page_is_self_contained_and_escaped() -> None:
    corpus = corpus_of(TEXT * 40)
    html = render_page("</title><b>", *network(corpus), corpus)
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert html.count("</script>") == 1
    assert "&lt;/title&gt;" in html
    assert "<b>" not in html


def test_page_size_is_limited() -> None:
    corpus = corpus_of(TEXT * 400)
    html = render_page("r", *network(corpus, 256, "rnn", 2), corpus)
    assert len(html.encode()) <= 2_000_000
    assert len(base64.b64decode(data_of(html)["ids"])) == 2 * CHARACTERS
    assert len(data_of(html)["units"]) == 333
    assert "Of 512 units, the first 333." in html


def test_page_of_dead_units_and_small_vocabulary() -> None:
    corpus = corpus_of("ab" * 200, (0.9, 0.1, 0.0))
    architecture, flat = network(corpus)
    html = render_page("r", architecture, np.zeros_like(flat), corpus)
    assert "validation split" in html
    data = data_of(html)
    assert not numbers(data["activations"], "<i1", 40).any()
    assert numbers(data["likeliest"], "<u2", 2).shape == (40, 2)


def test_top_k_is_sorted() -> None:
    likeliest, shares = top_k(np.array([[0.1, 0.3, 0.2, 0.25, 0.05, 0.1], [1, 0, 0, 0, 0, 0]]))
    assert likeliest[0, :3].tolist() == [1, 3, 2]
    assert shares[:, 0].tolist() == [0.3, 1]
    assert likeliest.shape == shares.shape == (2, 5)


def colors_of(page: Any) -> list[list[float]]:
    """Return red, green and blue (0 to 1) of the background of each character."""
    styles = "spans => spans.map(s => getComputedStyle(s).backgroundColor.match(/[\\d.]+/g).map(Number))"
    colors: list[list[float]] = page.locator("#text span").evaluate_all(styles)
    return colors


@pytest.fixture
def page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of a two-layer network, opened from disk."""
    corpus = corpus_of(TEXT * 40)
    write_text(tmp_path / "neurons.html", render_page("a run", *network(corpus, 6, "gru", 2), corpus))
    page = chromium.new_context(viewport={"width": 1400, "height": 900}, offline=True).new_page()
    page.set_default_timeout(BROWSER_TIMEOUT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "neurons.html").as_uri())
    yield page
    page.context.close()
    assert errors == []


@pytest.mark.slow
def test_page_in_browser(page: Any, tmp_path: Path) -> None:
    corpus = corpus_of(TEXT * 40)
    tokens, data = corpus.split("test"), data_of((tmp_path / "neurons.html").read_text(encoding="utf-8"))
    text = corpus.vocabulary.decode(tokens)
    assert "".join(page.locator("#text span").all_text_contents()).replace("\u21b5\n", "\n") == text
    activations = numbers(data["activations"], "<i1", tokens.size).astype(int)

    def check(unit: int) -> None:
        """The colors show this unit: red above 0, blue below 0."""
        colors, values = np.array(colors_of(page)), activations[unit]
        redder = colors[:, 0] - colors[:, 2]
        assert (redder[values > 10] > 0).all()
        assert (redder[values < -10] < 0).all()
        for end, color in ((127, [178, 24, 43]), (-127, [33, 102, 172])):
            assert abs(colors[values == end] * 255 - color).max(initial=0) < 0.1
        underlined = page.locator("#text span.low").evaluate_all("s => s.map(e => Number(e.dataset.k))")
        assert underlined == np.flatnonzero(values < -42).tolist()
        assert f"{names[unit]}: " in page.locator("#description").inner_text()

    names = [f"layer {unit['layer']} unit {unit['number']}" for unit in data["units"]]
    options = [line.split() for line in page.locator("#units option").all_text_contents()]
    assert [" ".join(line[:4]) for line in options] == names
    squares = [unit["r"] ** 2 for unit in data["units"]]
    assert [float(line[4]) for line in options] == pytest.approx(squares, rel=0, abs=0.00501)  # two decimals
    check(0)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    check(1)
    page.locator("#units").select_option(index=5)
    check(5)

    page.locator("#text span").nth(7).hover()
    place = page.locator("#place").inner_text()
    assert place.startswith(f"character 8 of {tokens.size}: ")
    displayed_value = float(place.rpartition(" ")[2].replace("\u2212", "-"))
    value = activations[5, 7] / 127 * data["units"][5]["scale"]
    assert displayed_value == pytest.approx(value, rel=0, abs=5.1e-4)  # three digits
    shares = numbers(data["shares"], "<u2", TOP_K)[7] / 65535
    bars = page.locator("#bars > span").all_inner_texts()
    displayed_shares = [float(bar.removesuffix("%")) for bar in bars]  # one decimal place
    assert displayed_shares == pytest.approx((100 * shares).tolist(), rel=0, abs=0.051)
    measured = "bars => bars.map(b => b.getBoundingClientRect().width)"
    widths = page.locator("#bars > div").evaluate_all(measured)
    assert np.allclose(np.array(widths) / widths[0], shares / shares[0], rtol=0.05)
    page.keyboard.press("ArrowRight")
    assert page.locator("#place").inner_text().startswith("character 9 of")
    check(5)

    check_layout(page)
