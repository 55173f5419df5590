"""The page of `python -m src.play` in a real browser: two texts that grow, errors, the keyboard, Ctrl-C."""

import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from src.common.errors import UserError
from src.config.schema import PathsConfig, TrackingConfig
from src.playground.generation import option_label
from src.tracking.run_store import open_store
from tests.commands import TIME_LIMIT
from tests.conftest import run_command
from tests.playground_visits import PATIENCE, Served, Visit

# MLflow's own warnings are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TINY = ("max_epochs=0.05", "eval_every=20", "length=40", "workers=1", "figures=false")


@pytest.fixture(scope="module")
def path_overrides(tmp_path_factory: pytest.TempPathFactory, command: Any) -> list[str]:
    """Two tiny trained runs, hidden=16 and hidden=24, and a finished one without a model."""
    root = tmp_path_factory.mktemp("play")
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]
    for hidden in (16, 24):
        ended = command("src.train", f"hidden={hidden}", *TINY, *path_overrides)
        assert ended.rc == 0, ended.err
    from src.tracking.mlflow_client import connect

    client = connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    run = client.create_run(experiment, tags={"stage": "train"}, run_name="a run that lost its model")
    client.set_terminated(run.info.run_id)
    return path_overrides


@pytest.fixture(scope="module")
def served(path_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page on both runs, the best (hidden=16) on the left."""
    server = Served(tmp_path_factory.mktemp("served"), "left=best", "right=best", *path_overrides)
    yield server
    ended = server.end()
    assert (ended.rc, ended.err) == (0, "")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser of Debian's package, driven by Playwright; every page of it has a new profile."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], headless=True)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, served: Served) -> Iterator[Visit]:
    visit = Visit(chromium, served.url)
    yield visit
    visit.context.close()
    assert visit.errors == []


def sampled(path_overrides: list[str], run_id: str, *arguments: str) -> str:
    ended = run_command("src.sample", f"run={run_id}", *arguments, *path_overrides)
    assert ended.rc == 0, ended.err
    return ended.out.removesuffix("\n")


def id_of(visit: Visit, side: str) -> str:
    chosen = str(visit.page.get_by_label(f"Run on the {side}").input_value())
    return chosen.rpartition(" · ")[2]


def test_both_runs_write_at_once_what_sample_writes(visit: Visit, path_overrides: list[str]) -> None:
    visit.choose("right", "hidden=24")
    prompt = "from fairest creatures "
    visit.fill(Prompt=prompt, Temperature=0.9, Top_k=5, Length=400, Seed=3)
    visit.write()
    seen: list[tuple[int, int]] = []
    ends = len(prompt) + 400
    deadline = time.monotonic() + PATIENCE / 1000
    while not seen or seen[-1] != (ends, ends):
        left, right = visit.texts()
        seen.append((len(left), len(right)))
        assert time.monotonic() < deadline, seen
        visit.page.wait_for_timeout(20)
    for lengths in zip(*seen, strict=True):
        assert list(lengths) == sorted(lengths), "a text only grows"
        assert len({n for n in lengths if len(prompt) < n < ends}) >= 5, f"the text came at once: {lengths}"
    assert any(len(prompt) < min(pair) and max(pair) < ends for pair in seen), "one after the other"
    assert [visit.column(side).locator(".prompt").text_content() for side in ("left", "right")] == [
        prompt
    ] * 2
    settings = [f"prompt={prompt}", "temperature=0.9", "top_k=5", "length=400", "seed=3"]
    for side in ("left", "right"):
        assert visit.text(side) == sampled(path_overrides, id_of(visit, side), *settings)
    left, right = visit.texts()
    assert left != right


def test_each_column_tells_its_run(visit: Visit) -> None:
    assert id_of(visit, "left") == id_of(visit, "right"), "both are the best"
    assert visit.column("left").locator(".differs").count() == 0
    visit.choose("right", "hidden=24")
    for side, hidden in (("left", 16), ("right", 24)):
        column = visit.column(side)
        column.get_by_text(f"hidden={hidden}", exact=True).wait_for()
        differs = column.locator(".differs")
        differs.nth(1).wait_for()
        assert [s.partition("=")[0] for s in differs.all_text_contents()] == ["hidden", "parameters"]
        assert "seq_len=20" in column.inner_text()
        assert re.search(r"val/loss [23]\.\d{4}", column.inner_text())
    visit.fill(Length=30)
    visit.write()
    visit.until(lambda: visit.rate("right").startswith("30 characters, computed at "), "the rate")
    visit.choose("right", "hidden=16")
    visit.until(lambda: visit.text("right") == "", "the text of the run before goes")
    assert visit.rate("right") == "no text yet"
    assert visit.text("left") != ""


def test_the_keyboard_writes_too(visit: Visit) -> None:
    visit.fill(Length=5, Prompt="love ")
    visit.page.get_by_label("Prompt").press("Control+Enter")
    visit.until(lambda: [len(text) for text in visit.texts()] == [10, 10], "Ctrl+Enter in the prompt")
    visit.fill(Length=7)
    visit.page.get_by_label("Length").press("Enter")
    visit.until(lambda: [len(text) for text in visit.texts()] == [12, 12], "Enter in a number")
    assert visit.page.get_by_label("Prompt").input_value() == "love "
    visit.fill(Length=9)
    visit.page.get_by_label("Seed").press("Tab")  # to the choice of a pace
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Write"
    visit.page.keyboard.press("Enter")
    visit.until(lambda: [len(text) for text in visit.texts()] == [14, 14], "Enter on the button")
    visit.until(visit.page.get_by_role("button", name="Stop").is_disabled, "nothing to stop")
    visit.page.keyboard.press("Tab")  # past Stop
    assert visit.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Run on the left"
    visit.page.keyboard.type("24 small")  # narrows the list down
    visit.page.get_by_role("option").filter(has_text="hidden=24").wait_for()
    visit.until(lambda: visit.page.get_by_role("option").count() == 1, "nothing but what was typed")
    visit.page.keyboard.press("ArrowDown")
    visit.page.keyboard.press("Enter")
    visit.column("left").get_by_text("hidden=24", exact=True).wait_for()


def test_an_error_is_a_line_in_its_column(visit: Visit) -> None:
    visit.choose("left", "lost its model")
    visit.fill(Length=20, Prompt="love ")
    visit.write()
    alert = visit.column("left").get_by_role("alert")
    alert.filter(has_text="run: expected a run with a logged model, got ").wait_for()
    assert "no val/loss" in visit.column("left").inner_text()
    visit.until(lambda: len(visit.text("right")) == 25, "the other column writes")
    visit.choose("left", "hidden=16")
    visit.fill(Prompt="straße")
    visit.write()
    for side in ("left", "right"):
        line = visit.column(side).get_by_role("alert").filter(has_text="got 'ß'")
        line.wait_for()
        assert str(line.text_content()).startswith("prompt: expected only the 27 characters")
    visit.fill(Prompt="love ")
    visit.write()
    visit.until(lambda: [len(text) for text in visit.texts()] == [25, 25], "the next one is fine")
    assert visit.page.get_by_role("alert").filter(visible=True).count() == 0


def test_a_value_out_of_range_is_told_beside_it_and_nothing_is_written(visit: Visit) -> None:
    visit.fill(Temperature=-1, Top_p=2)
    visit.write()
    visit.page.get_by_text("expected a number >= 0, got -1", exact=True).wait_for()
    visit.page.get_by_text("expected a number > 0 and <= 1, or nothing for", exact=False).wait_for()
    visit.page.wait_for_timeout(500)
    assert visit.texts() == ("", "")
    visit.fill(Temperature=0, Top_p="", Length=3, Prompt="")
    visit.write()
    visit.until(lambda: [len(text) for text in visit.texts()] == [3, 3], "mended")


def test_the_server_answers_while_it_computes_and_stop_stops(visit: Visit, served: Served) -> None:
    visit.page.get_by_label("Shown at").click()
    visit.page.get_by_role("option", name="unlimited").click()
    stop = visit.page.get_by_role("button", name="Stop")
    assert stop.is_disabled()
    visit.fill(Length=100_000)
    visit.write()
    visit.until(lambda: min(map(len, visit.texts())) > 3000, "both write")
    with urllib.request.urlopen(served.url, timeout=TIME_LIMIT) as answer:
        assert answer.status == 200
    assert not stop.is_disabled(), "it answered while it was computing"
    stop.click()
    visit.until(stop.is_disabled, "stopped")
    stood = visit.texts()
    assert max(map(len, stood)) < 100_000
    visit.page.wait_for_timeout(500)
    assert visit.texts() == stood
    visit.write()
    visit.until(lambda: min(map(len, visit.texts())) > 1000, "both write again")
    visit.fill(Length=10, Prompt="love ")
    visit.write()
    visit.until(lambda: [len(text) for text in visit.texts()] == [15, 15], "what is asked for last counts")
    visit.page.wait_for_timeout(500)
    assert [len(text) for text in visit.texts()] == [15, 15]
    assert stop.is_disabled()


def test_the_browser_asks_nobody_else(visit: Visit, served: Served) -> None:
    visit.fill(Length=10)
    visit.write()
    visit.until(lambda: min(map(len, visit.texts())) > 10, "both write")
    assert len(visit.asked) > 5
    elsewhere = [url for url in visit.asked if urlsplit(url).netloc != f"127.0.0.1:{served.port}"]
    assert [url for url in elsewhere if urlsplit(url).scheme not in ("data", "blob")] == []


def test_ctrl_c_ends_it_in_the_middle_of_a_text(
    chromium: Any, path_overrides: list[str], tmp_path: Path, visit: Visit
) -> None:
    """Without a tracker; a visitor who left in the middle of a text leaves no trace, either."""
    server = Served(tmp_path, "tracking=none", *path_overrides)
    try:
        first = Visit(chromium, server.url)
        first.fill(Length=100_000)
        first.write()
        first.until(lambda: min(map(len, first.texts())) > 100, "both write")
        first.context.close()
        second = Visit(chromium, server.url)
        assert "hidden=16" in second.column("left").inner_text()
        assert "hidden=24" in second.column("right").inner_text()
        second.fill(Length=100_000)
        second.write()
        second.until(lambda: min(map(len, second.texts())) > 1000, "longer than the first one is remembered")
    finally:
        ended = server.end()
    second.context.close()
    assert (ended.rc, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "reading the list of runs",
        f"open {server.url}  (Ctrl-C stops the server)",
    ]


def test_registered_aliases_are_listed(path_overrides: list[str]) -> None:
    outputs = path_overrides[0].partition("=")[2]
    store = open_store(PathsConfig(outputs, outputs, TrackingConfig("mlflow", None, "char-rnn", None)))
    names = [run.name for run in store.finished()]
    assert names == ["a run that lost its model", "rnn hidden=24 smallshake", "rnn hidden=16 smallshake"]
    from src.tracking.mlflow_client import connect

    client = connect(f"sqlite:///{outputs}/mlflow.db")
    best = store.find("best", "left")
    client.create_registered_model("writer")
    version = client.create_model_version("writer", f"runs:/{best.run_id}/model", best.run_id)
    client.set_registered_model_alias("writer", "hero", version.version)
    listed = {run.run_id: run for run in store.finished()}
    assert listed[best.run_id].aliases == ("writer@hero",)
    assert "writer@hero" in option_label(listed[best.run_id])
    assert [run.aliases for run in listed.values()].count(()) == 2
    with pytest.raises(UserError, match=r"^left: expected latest, best.* got nobody$"):
        store.find("nobody", "left")
