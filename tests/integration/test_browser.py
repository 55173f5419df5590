"""The links and the report of a sweep in a real browser with a new profile."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TIME_LIMIT, CommandResult, RunCli, free_port
from tests.page_checks import check_layout, figure_names
from tests.processes import start, wait_for
from tests.sweep_runs import SHORT, NewDatabase, path_overrides_of

pytestmark = pytest.mark.slow
BROWSER_TIMEOUT_MS = 600_000  # milliseconds
NAMES = {f"hidden={hidden} clip={clip}" for hidden in (8, 16) for clip in (1, 5)}
PARALLEL = "document.querySelectorAll('.js-plotly-plot .parcoords').length > 0"


@dataclass(frozen=True)
class ServedSweep:
    """A finished sweep and the links that `src.ui` prints."""

    outputs: Path
    command_result: CommandResult
    links: dict[str, str]
    home: str  # the address to open
    single: str  # id of a run outside of the sweep, whose model is registered

    @property
    def file(self) -> Path:
        """The comparison page on disk."""
        (path,) = self.outputs.glob("sweeps/*/comparison.html")
        return path


def links_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) +(http\S+)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def served_sweep(
    chromium: Any, tmp_path_factory: pytest.TempPathFactory, command: RunCli, new_database: NewDatabase
) -> Iterator[ServedSweep]:
    root = tmp_path_factory.mktemp("browser")
    outputs, path_overrides = root / "outputs", path_overrides_of(root)
    new_database(outputs)
    sweep = ("hidden=8,16", "clip=1,5", *SHORT, "max_epochs=0.05", "log_every=10", "length=40",
             *path_overrides)  # fmt: skip
    command_result = command("src.train", "--multirun", *sweep).check()
    single = ("model=gru", "hidden=8", "register=true", *SHORT, *path_overrides)
    run_id = command("src.train", *single).check().out.splitlines()[-1].rpartition("run=")[2]
    log = root / "ui.log"
    with log.open("wb") as file:
        server = start("src.ui", f"port={free_port()}", *path_overrides, stdout=file, stderr=file)
    try:
        wait_for(lambda: "page" in links_in(log.read_text()), server)
        home = log.read_text().split()[1]
        yield ServedSweep(outputs, command_result, links_in(log.read_text()), home, run_id)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(TIME_LIMIT)


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[[str], Any]]:
    """Open a URL in a new browser profile."""
    context = chromium.new_context(viewport={"width": 1500, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(BROWSER_TIMEOUT_MS)

    def open_url(address: str) -> Any:
        page.goto(address)
        return page

    yield open_url
    context.close()


def test_sweep_and_ui_print_same_links(served_sweep: ServedSweep) -> None:
    printed = links_in(served_sweep.command_result.err)
    assert set(printed) == {"table", "charts", "compare", "page"} == set(served_sweep.links)
    hint = f"while `python -m src.ui output_dir={served_sweep.outputs}` runs"
    assert hint in served_sweep.command_result.err
    for name, address in printed.items():
        assert address.startswith("http://127.0.0.1:5000/#/")
        if name != "compare":  # runs with equal val/loss may have either order
            assert address.partition("#")[2] == served_sweep.links[name].partition("#")[2]


def test_ui_opens_on_all_runs(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.home)
    page.locator("text=5 matching runs").wait_for()
    titles = page.locator("[data-testid='experiment-view-compare-runs-card-drag-handle'] ~ *")
    titles.first.wait_for()
    assert "val/loss" in titles.first.inner_text()
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .scatterlayer .js-line').length >= 10")
    page.locator("svg text", has_text="val/loss").last.wait_for(state="attached")
    page.goto(served_sweep.home.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"))
    for heading in ("val/loss", "test/bpc", "hidden", "clip", "model"):
        page.locator(".ag-header-cell", has_text=re.compile(rf"^\s*{heading}\s*$")).first.wait_for()


def test_run_and_model_are_described(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    server = served_sweep.home.partition("#")[0]
    page = open_page(f"{server}#/experiments/1/runs/{served_sweep.single}?workflowType=machine_learning")
    page.get_by_text("Show more").click()
    page.get_by_text("nats per character").wait_for()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="samples.json").click()
    opened.value.wait_for_url("**/artifacts/samples.json?workflowType=machine_learning")
    page.goto(f"{server}#/models/char-rnn?workflowType=machine_learning")
    page.get_by_text('mlflow.pyfunc.load_model("models:/char-rnn@champion")').wait_for()


def test_every_link_opens_model_training(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    for address in served_sweep.links.values():
        page = open_page(address)
        page.get_by_text("Model training").first.wait_for()
        assert page.get_by_role("link", name="Overview").count() == 0, "the menu of GenAI apps"


def test_table_shows_swept_keys_and_scores(
    open_page: Callable[[str], Any], served_sweep: ServedSweep
) -> None:
    page = open_page(served_sweep.links["table"])
    page.wait_for_function(
        "document.querySelectorAll('.ag-center-cols-container .ag-cell[col-id*=\"hidden\"]').length === 4"
    )

    def column(name: str) -> list[str]:
        cells = page.locator(f".ag-center-cols-container .ag-cell[col-id='{name}']")
        rows = cells.evaluate_all(
            "cells => cells.map(c => [+c.closest('[row-index]').getAttribute('row-index'), c.innerText])"
        )
        return [text.strip() for _, text in sorted(rows)]

    assert column("params.`hidden`") == ["16", "16", "8", "8"]
    assert sorted(column("params.`clip`")) == ["1.0", "1.0", "5.0", "5.0"]
    losses = [float(text) for text in column("metrics.`val/loss`")]
    assert losses == sorted(losses)
    assert 2 < losses[0] < losses[-1] < 4
    assert len([float(text) for text in column("metrics.`test/bpc`")]) == 4
    for heading in ("hidden", "clip", "val/loss", "test/bpc"):  # visible without scrolling
        box = page.locator(".ag-header-cell", has_text=re.compile(rf"^\s*{heading}\s*$")).first.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] < 1200


def test_charts_show_runs_of_sweep(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.links["charts"])
    for metric in ("val/loss", "train/loss"):
        for name in sorted(NAMES):
            page.get_by_text(re.compile(rf"{name} .*\({metric}\)")).first.wait_for(state="attached")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .scatterlayer .js-line').length >= 8")
    lines = page.locator(".js-plotly-plot .scatterlayer .js-line").evaluate_all(
        "lines => lines.map(line => [line.getAttribute('d') || '', line.style.stroke])"
    )
    assert len([path for path, _ in lines if re.search("[LHV]", path)]) >= 8
    assert len({color for _, color in lines}) == 4
    page.locator("text=4 matching runs").wait_for()
    for axis in ("hidden", "clip", "val/loss"):
        page.locator(".js-plotly-plot text, svg text", has_text=axis).first.wait_for(state="attached")


def test_compare_page_shows_runs(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.links["compare"])
    page.get_by_text("Comparing 4 Runs from 1 Experiment").wait_for()
    page.wait_for_function(PARALLEL)
    assert page.locator(".parcoords .axis-title").all_text_contents()[-1] == "val/loss"
    text = page.inner_text("body")
    for name in NAMES:
        assert name in text
    (values,) = re.findall(r"^hidden\t(.*)$", text, re.MULTILINE)
    assert sorted(values.split()) == ["16", "16", "8", "8"]
    for axis in ("hidden", "clip"):
        page.locator(".parcoords text", has_text=axis).first.wait_for(state="attached")
    # The table renders only visible lines, and it resets scrolling while it grows.
    for metric in ("test/bpc", "val/loss"):
        page.wait_for_function(
            """name => [...document.querySelectorAll(".ReactVirtualized__Grid")].some(grid => {
                const next = grid.scrollTop + 100
                grid.scrollTo(0, next + grid.clientHeight > grid.scrollHeight + 100 ? 0 : next)
                return [...grid.querySelectorAll("*")].some(cell => cell.textContent.trim() === name)
            })""",
            arg=metric,
        )


def assert_report(frame: Any) -> None:
    """The report shows the table, the curves, the marginals and the samples."""

    def texts(selector: str) -> list[str]:
        return [str(text) for text in frame.locator(selector).all_inner_texts()]

    def labels(figure: str) -> str:
        return " ".join(frame.locator(f"{figure} svg text").all_text_contents())

    frame.locator("#jobs tbody tr").nth(3).wait_for()
    rows = [row.split("\t") for row in texts("#jobs tbody tr")]
    assert {(row[0], row[1]) for row in rows} == {(h, c) for h in ("8", "16") for c in ("1", "5")}
    losses = [float(row[2]) for row in rows]
    assert losses == sorted(losses)
    assert "best" in rows[0][5]
    assert all(name in labels("#curves") for name in NAMES)
    lines = frame.locator("#curves svg path").evaluate_all(
        "lines => lines.map(l => l.getBoundingClientRect()).filter(b => b.width > 20 && b.height > 5).length"
    )
    assert lines >= 8  # two per run
    assert {"hidden", "clip", "16"} <= set(labels("#marginals").split())
    samples = texts("#samples pre")
    assert len(samples) == 4
    assert all(text.startswith("love were but the child") and len(text) > 50 for text in samples)


def test_report_opens_from_disk_and_sorts(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.file.as_uri())
    assert_report(page)

    def column(place: int) -> list[str]:
        return [str(text) for text in page.locator(f"#jobs tbody td:nth-child({place})").all_inner_texts()]

    by_loss = column(3)
    for heading, place, order in (("hidden", 1, ["8", "8", "16", "16"]), ("val/loss", 3, by_loss)):
        page.get_by_role("button", name=heading).click()
        assert column(place) == order, "numeric order"
        page.get_by_role("button", name=heading).click()
        assert column(place) == order[::-1]


def test_report_names_curve_at_pointer_and_focus(
    open_page: Callable[[str], Any], served_sweep: ServedSweep
) -> None:
    page = open_page(served_sweep.file.as_uri())
    rows = [row.split("\t") for row in page.locator("#jobs tbody tr").all_inner_texts()]
    labels = {f"hidden={hidden} clip={clip}, {loss}" for hidden, clip, loss, *_ in rows}
    named = page.locator("#named")
    assert not named.is_visible()
    for figure in ("#curves", "#marginals"):
        for job in page.locator(f"{figure} .job").all():
            marker = job.locator("use").last
            if marker.count():  # the dotted line of train/loss has none
                marker.scroll_into_view_if_needed()
                box = marker.bounding_box()
                page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 6)
                assert named.inner_text() in labels, "a job within 8 pixels"
                assert page.locator(f"{figure} .pointed").count() >= 1
    page.locator("h1").hover()
    assert not named.is_visible()
    page.locator("#jobs button").last.focus()
    focused = []
    for _ in NAMES:
        while not page.evaluate("document.activeElement.matches('.job')"):
            page.keyboard.press("Tab")
        focused.append(named.inner_text())
        page.keyboard.press("Tab")
    assert set(focused) == labels


def test_report_links_to_run_and_files(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.file.as_uri())
    assert f"while python -m src.ui output_dir={served_sweep.outputs} runs." in page.inner_text("body")
    cell = page.locator("#jobs tbody tr").first.locator(".run")
    run_id, address = cell.locator("code").inner_text(), cell.get_by_role("link").first.get_attribute("href")
    assert address == f"http://127.0.0.1:5000/#/runs/{run_id}?workflowType=machine_learning"
    cell.get_by_role("link", name="files").click()
    page.get_by_role("link", name="scores.json").wait_for()  # Chromium's list of the folder
    page.goto(served_sweep.links["page"].partition("#")[0] + "#" + address.partition("#")[2])
    page.wait_for_url(f"**/experiments/*/runs/{run_id}**")
    page.get_by_text("val/loss").first.wait_for()


def test_report_fits_screen_and_color_scheme(
    open_page: Callable[[str], Any], served_sweep: ServedSweep
) -> None:
    page = open_page(served_sweep.file.as_uri())
    check_layout(page)
    curves, marginals = figure_names(page)
    assert re.match(r"Training and validation loss of each job: 4 jobs, the best hidden=\d+ clip=\d", curves)
    assert re.search(
        r"val/loss by swept key: hidden: mean \d\.\d{4} at 8, .*; clip: mean .* at 5$", marginals
    )


def test_report_opens_inside_mlflow(open_page: Callable[[str], Any], served_sweep: ServedSweep) -> None:
    page = open_page(served_sweep.links["page"])
    frame = page.frame_locator("iframe.mlflow-html-iframe")
    assert_report(frame)
    frame.get_by_role("button", name="clip").click()  # the script runs in the sandbox of the viewer
    shown_first = frame.locator("#jobs tbody tr td:nth-child(2)").all_inner_texts()
    assert shown_first == ["1", "1", "5", "5"]
    assert frame.locator("a[href]").count() == 0, "the viewer does not follow links"
