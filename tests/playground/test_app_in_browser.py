"""The page of `python -m src.play` in a real browser."""

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from src.tracking.event_log import EventLog
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import Trained, ignore_mlflow_warnings
from tests.page_checks import check_layout
from tests.playground_page import BROWSER_TIMEOUT_MS, PlaygroundPage, PlaygroundServer

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]
TINY = ("max_epochs=0.05", "eval_every=20", "length=40", "workers=1", "figures=false", "diagnostics=false")
SIDES = ("left", "right")


@pytest.fixture(scope="module")
def path_overrides(tmp_path_factory: pytest.TempPathFactory, command: RunCli) -> list[str]:
    """A finished run without a model and two tiny runs, hidden=16 and hidden=24."""
    root = tmp_path_factory.mktemp("play")
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}", "tracking=none"]
    lost = root / "outputs" / "runs" / "lost"
    lost.mkdir(parents=True)
    (lost / "scores.json").write_text("{}")
    event_log = EventLog(lost)
    event_log.start("e", "a run that lost its model", {}, {}, None)
    event_log.end("FINISHED")
    for hidden in (16, 24):
        command("src.train", f"hidden={hidden}", *TINY, *path_overrides).check()
    return path_overrides


@pytest.fixture(scope="module")
def playground(
    path_overrides: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PlaygroundServer]:
    """The page with the best run (hidden=16) on the left and the latest (hidden=24) on the right."""
    server = PlaygroundServer(tmp_path_factory.mktemp("served"), "length=100000", *path_overrides)
    yield server
    result = server.stop()
    assert (result.rc, result.err) == (0, "")


@pytest.fixture
def page(chromium: Any, playground: PlaygroundServer) -> Iterator[PlaygroundPage]:
    page = PlaygroundPage(chromium, playground.url)
    page.stop()
    yield page
    page.context.close()
    assert page.errors == []


def test_both_columns_stream_text_of_sample(
    page: PlaygroundPage, playground: PlaygroundServer, run_cli: RunCli, path_overrides: list[str]
) -> None:
    prompt = "from fairest creatures "
    page.fill(Prompt=prompt, Temperature=0.9, Top_k=5, Length=400, Seed=3)
    page.write()
    seen: list[tuple[int, int]] = []
    full_length = len(prompt) + 400
    deadline = time.monotonic() + BROWSER_TIMEOUT_MS / 1000
    while not seen or seen[-1] != (full_length, full_length):
        left, right = page.texts()
        seen.append((len(left), len(right)))
        assert time.monotonic() < deadline, seen
        page.page.wait_for_timeout(20)
    for lengths in zip(*seen, strict=True):
        assert list(lengths) == sorted(lengths), "the text shrank"
        streamed = {n for n in lengths if len(prompt) < n < full_length}
        assert len(streamed) >= 5, f"the text was not streamed: {lengths}"
    in_parallel = any(len(prompt) < min(pair) and max(pair) < full_length for pair in seen)
    assert in_parallel, "the columns did not stream in parallel"
    settings = (f"prompt={prompt}", "temperature=0.9", "top_k=5", "length=400", "seed=3", *path_overrides)
    for side in SIDES:
        assert page.column(side).locator(".prompt").text_content() == prompt
        chosen = str(page.page.get_by_label(f"Run on the {side}").input_value())
        sample = run_cli("sample", f"run={chosen.rpartition(' · ')[2]}", *settings).check().out
        assert page.text(side) == sample.removesuffix("\n")
    left, right = page.texts()
    assert left != right
    own = f"127.0.0.1:{playground.port}"
    foreign = [url for url in map(urlsplit, page.requested_urls) if url.netloc != own]
    assert len(page.requested_urls) > 5
    assert {url.scheme for url in foreign} <= {"data", "blob"}, "the page needs no network"


def test_page_opens_with_two_texts_being_written(chromium: Any, playground: PlaygroundServer) -> None:
    """And it follows the screen and the color scheme of the system."""
    page = PlaygroundPage(chromium, playground.url)
    for _ in range(3):
        page.wait_for_more_than(max(map(len, page.texts())))  # both grow, without a click
    page.stop()
    check_layout(page.page)
    assert page.page.get_by_role("link").count() == 0, "these runs are not in MLflow"
    page.context.close()
    assert page.errors == []


def test_column_links_to_run_in_mlflow(chromium: Any, trained: Trained, tmp_path: Path) -> None:
    server = PlaygroundServer(tmp_path, *trained.path_overrides)
    page = PlaygroundPage(chromium, server.url)
    address = page.column("right").get_by_role("link", name="run in MLflow").get_attribute("href")
    assert address == f"http://127.0.0.1:5000/#/runs/{trained.run_id}?workflowType=machine_learning"
    page.context.close()
    assert server.stop().rc == 0


def test_next_character_is_shown_on_hover_and_key(page: PlaygroundPage) -> None:
    page.fill(Length=60, Prompt="love ")
    page.write()
    page.wait_for_lengths(65, "both texts")
    text, column = page.text("left"), page.column("left")
    context, rows = column.locator(".context"), column.locator(".likeliest")
    assert context.inner_text().startswith("Point at a character, or press an arrow key")

    def check(place: int) -> None:
        read = text[max(0, place - 19) : place + 1].replace(" ", "\u2423")
        page.wait_until(
            lambda: (
                context.inner_text()
                == f"Next character after \u201c{read}\u201d at temperature 0.7 (bold: the one that came):"
            ),
            read,
        )
        assert rows.locator(".came").first.inner_text() == text[place + 1].replace(" ", "\u2423")
        shares = [float(share[:-1]) for share in rows.inner_text().split() if share.endswith("%")]
        assert shares[:5] == sorted(shares[:5], reverse=True)
        assert 0 < sum(shares) <= 100.5

    box = column.locator(".text").evaluate(
        """text => {
          const range = new Range(), node = text.lastElementChild.firstChild;
          range.setStart(node, 7);
          range.setEnd(node, 8);
          return range.getBoundingClientRect().toJSON();
        }"""
    )
    page.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    check(len("love ") + 7)
    column.locator(".text").focus()
    page.page.keyboard.press("ArrowRight")
    check(len("love ") + 8)
    for _ in range(11):
        page.page.keyboard.press("ArrowLeft")
    check(2)  # in the prompt
    page.write()
    page.wait_until(lambda: context.inner_text().startswith("Point at"), "a new text")


def test_column_describes_run(page: PlaygroundPage) -> None:
    for side, hidden in (("left", 16), ("right", 24)):
        column = page.column(side)
        column.get_by_text(f"hidden={hidden}", exact=True).wait_for()
        differs = column.locator(".differs")
        differs.nth(1).wait_for()
        assert [s.partition("=")[0] for s in differs.all_text_contents()] == ["hidden", "parameters"]
        assert "seq_len=20" in column.inner_text()
        assert re.search(r"val/loss [23]\.\d{4}", column.inner_text())
    page.fill(Length=30)
    page.write()
    page.wait_until(lambda: page.rate("right").startswith("30 characters, computed at "), "the rate")
    page.choose("right", "hidden=16")
    page.wait_until(lambda: page.text("right") == "", "the text of the previous run is removed")
    assert page.rate("right") == "no text yet"
    assert page.text("left") != ""
    page.wait_until(lambda: page.column("left").locator(".differs").count() == 0, "the same run")


def test_keyboard_controls(page: PlaygroundPage) -> None:
    keyboard = page.page.keyboard
    page.fill(Length=5, Prompt="love ")
    page.page.get_by_label("Prompt").press("Control+Enter")
    page.wait_for_lengths(10, "Ctrl+Enter in the prompt")
    page.fill(Length=7)
    page.page.get_by_label("Length").press("Enter")
    page.wait_for_lengths(12, "Enter in a number")
    assert page.page.get_by_label("Prompt").input_value() == "love "
    page.fill(Length=9)
    page.page.get_by_label("Seed").press("Tab")  # to the speed selection
    keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.textContent") == "Write"
    keyboard.press("Enter")
    page.wait_for_lengths(14, "Enter on the button")
    page.wait_until(page.page.get_by_role("button", name="Stop").is_disabled, "nothing to stop")
    keyboard.press("Tab")  # after Stop
    assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Run on the left"
    keyboard.type("hidden=24")  # filters the list
    page.page.get_by_role("option").filter(has_text="hidden=24").wait_for()
    page.wait_until(lambda: page.page.get_by_role("option").count() == 1, "only the matching run")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    page.column("left").get_by_text("hidden=24", exact=True).wait_for()


def test_error_is_shown_in_its_column(page: PlaygroundPage) -> None:
    page.choose("left", "lost its model")
    page.fill(Length=20, Prompt="love ")
    page.write()
    alert = page.column("left").get_by_role("alert")
    alert.filter(has_text="run: expected a whole model, got a damaged one in ").wait_for()
    assert "no val/loss" in page.column("left").inner_text()
    page.wait_until(lambda: len(page.text("right")) == 25, "the other column generates")
    page.choose("left", "hidden=16")
    page.fill(Prompt="straße")
    page.write()
    for side in SIDES:
        line = page.column(side).get_by_role("alert").filter(has_text="got 'ß'")
        line.wait_for()
        assert str(line.text_content()).startswith("prompt: expected only the 27 characters")
    page.fill(Prompt="love ")
    page.write()
    page.wait_for_lengths(25, "the next request succeeds")
    assert page.page.get_by_role("alert").filter(visible=True).count() == 0


def test_invalid_value_is_reported_and_nothing_generated(page: PlaygroundPage) -> None:
    page.fill(Temperature=-1, Top_p=2)
    page.write()
    page.page.get_by_text("expected a number >= 0, got -1", exact=True).wait_for()
    page.page.get_by_text("expected a number > 0 and <= 1, or nothing for", exact=False).wait_for()
    before = page.texts()
    page.page.wait_for_timeout(300)
    assert page.texts() == before
    page.fill(Temperature=0, Top_p="", Length=3, Prompt="the")
    page.write()
    page.wait_for_lengths(6, "valid values")


def test_server_responds_during_generation_and_stop(
    page: PlaygroundPage, playground: PlaygroundServer
) -> None:
    page.page.get_by_label("Shown at").click()
    page.page.get_by_role("option", name="unlimited").click()
    stop = page.page.get_by_role("button", name="Stop")
    assert stop.is_disabled()
    page.fill(Length=100_000)
    page.write()
    page.wait_for_more_than(3000)
    with urllib.request.urlopen(playground.url, timeout=TIME_LIMIT) as answer:
        assert answer.status == 200
    assert not stop.is_disabled(), "generation ended too soon"
    stop.click()
    page.wait_until(stop.is_disabled, "stopped")
    stopped_texts = page.texts()
    assert max(map(len, stopped_texts)) < 100_000
    page.page.wait_for_timeout(300)
    assert page.texts() == stopped_texts
    page.write()
    page.wait_for_more_than(1000)
    page.fill(Length=10, Prompt="love ")
    page.write()
    page.wait_for_lengths(15, "the last request counts")
    page.page.wait_for_timeout(300)
    assert [len(text) for text in page.texts()] == [15, 15]
    assert stop.is_disabled()


def test_ctrl_c_stops_server_during_generation(chromium: Any, playground: PlaygroundServer) -> None:
    """A client that disconnects during generation causes no error."""
    first = PlaygroundPage(chromium, playground.url)
    first.fill(Length=100_000)
    first.write()
    first.wait_for_more_than(100)
    first.context.close()
    second = PlaygroundPage(chromium, playground.url)
    second.fill(Length=100_000)
    second.write()
    second.wait_for_more_than(1000)  # longer than the first request
    result = playground.stop()
    second.context.close()
    assert (result.rc, result.err) == (0, "")
    start, best, latest, address = result.out.splitlines()
    assert start == "reading the list of runs"
    assert (best.partition(":")[0], latest.partition(":")[0]) == ("run=best", "run=latest")
    assert address == f"open {playground.url}  (Ctrl-C stops the server)"
