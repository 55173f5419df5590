"""comparison.html, read with the standard library's parser."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from math import inf, log, nan
from typing import Any

import pytest

from src.common.job_result import JobResult
from src.sweeps.html_report import rank_results, render_page
from src.tracking.mlflow_links import run_link


class Reader(HTMLParser):
    """Elements, attributes, and the texts of table cells, of samples and of elements with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.cards: list[str] = []
        self.texts: dict[str, str] = {}
        self.inside: list[tuple[str, str]] = []  # tag and id of the open elements
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "pre":
            self.cards.append("")
        if tag not in ("meta", "br", "link", "img", "input"):
            self.inside.append((tag, dict(attrs).get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag, name in self.inside:
            if tag in ("td", "th"):
                self.rows[-1][-1] += data.strip()
            if tag == "pre":
                self.cards[-1] += data
            if name:
                self.texts[name] = self.texts.get(name, "") + data


def sample(
    temperature: float = 0.7, text: str = "summer", prompt: str = "shall i ", seed: int = 1
) -> dict[str, Any]:
    return {"temperature": temperature, "prompt": prompt, "text": text, "seed": seed}


def finished(number: int, loss: float, swept: dict[str, str] | None = None, **more: Any) -> JobResult:
    swept = swept or {"hidden": str(2 ** (3 + number)), "clip": "1"}
    name = " ".join(f"{key}={value}" for key, value in swept.items())
    points = [(20, loss + 1), (40, loss + 0.5), (60, loss)]
    defaults = {
        "metrics": {"val/loss": loss, "test/bpc": loss / log(2)},
        "curves": {"val/loss": points, "train/loss": points},
        "samples": [sample()],
        "seconds": 12.34,
    }
    return JobResult(name, number, swept, f"id{number}", "FINISHED", **{**defaults, **more})


def failed(number: int) -> JobResult:
    reason = "hidden: expected an integer >= 1, got 0"
    return JobResult("hidden=0 clip=1", number, {"hidden": "0", "clip": "1"}, f"id{number}", "FAILED", reason)


ROWS = [finished(0, 2.5), failed(1), finished(2, 2.25, reused=True), finished(3, 3.0)]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page("hidden=8,0,32,64", ROWS)


def test_table_lists_runs_best_first(page: str) -> None:
    rows = Reader(page).rows
    assert rows[0] == ["hidden", "clip", "val/loss", "test/bpc", "seconds", "status", "stop reason", "run"]
    bpc = 2.25 / log(2)
    assert rows[1] == ["32", "1", "2.2500", f"{bpc:.4f}", "12.3", "FINISHED, reused, best", "", "id2"]
    assert [row[-1] for row in rows[1:]] == ["id2", "id0", "id3", "id1"]
    assert rows[4] == ["0", "1", "", "", "0.0", "FAILED", ROWS[1].reason, "id1"]
    assert re.findall(r'<tr class="(\w*)">', page) == ["best", "", "", "failed"]
    assert f'data-value="{bpc}"' in page  # full precision for sorting
    assert "Best: hidden=32 clip=1, val/loss 2.2500" in page


def test_figures_label_runs_and_axes(page: str) -> None:
    texts = Reader(page).texts
    for words in ("1: hidden=32 clip=1, 2.2500", "3: hidden=64 clip=1, 3.0000", "val/loss", "train/loss",
                  "optimizer step", "loss [nats per character]"):  # fmt: skip
        assert words in texts["curves"]
    assert "hidden=0" not in texts["curves"]
    for words in ("hidden", "clip", "val/loss [nats per character]", "mean"):
        assert words in texts["marginals"]
    assert {"8", "32", "64"} <= set(texts["marginals"].split())  # every value has a tick
    assert "repeats" not in texts


@pytest.mark.slow
def test_legend_lists_all_runs() -> None:
    rows = [finished(n, 2 + n / 50, {"seed": str(n), "lr": str(0.001 * (n + 1))}) for n in range(50)]
    text = Reader(render_page("many", rows)).texts["curves"]
    for place, row in enumerate(rows, 1):
        assert f"{place}: {row.name}, {row.loss:.4f}" in text


def test_samples_use_common_settings() -> None:
    three = [sample(0.4, "cold"), sample(0.7, "warm"), sample(1.0, "hot")]
    samples = (three, three[::-1], [sample(0.1, "frozen")])
    rows = [finished(n, 2 + n / 10, samples=samples[n]) for n in range(3)]
    text = render_page("sweep", [*rows, failed(3)])
    read = Reader(text)
    assert read.cards == ["shall i warm", "shall i warm", "shall i frozen"]
    assert "at temperature 0.7, seed 1" in text
    assert "at temperature 0.7" not in read.texts["samples"]
    assert "at temperature 0.1, seed 1" in read.texts["samples"]


def test_text_is_escaped() -> None:
    markup = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    swept = {"prompt": markup, "hidden": "8"}
    rows = [
        finished(0, 2.0, swept, samples=[sample(0.7, markup + " $x_1$", prompt=markup)]),
        finished(1, 2.2, {"prompt": "a & b $y$", "hidden": "8"}),
        JobResult(markup, 2, swept, "id2", "FAILED", reason=f"prompt: got {markup}"),
    ]
    read = Reader(render_page(f"prompt={markup}", rows))
    assert read.tags.count("script") == 1
    assert "img" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert markup + markup + " $x_1$" in read.cards
    assert markup in read.texts["curves"]
    assert "a & b $y$" in read.texts["marginals"]  # dollars are not parsed as mathematics


def test_report_is_self_contained(page: str) -> None:
    assert not re.search(r"https?:|src=|@import|url\((?!#)", page)
    read = Reader(page)
    assert not {"link", "iframe", "img"} & set(read.tags)
    assert all((value or "").startswith("#") for name, value in read.attributes if name.endswith("href"))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert references
    assert set(references) <= set(ids)


def test_report_without_finished_jobs() -> None:
    empty = render_page("empty", [])
    for words in ("0 jobs, 0 finished. None of them has a val/loss.", "No job has reported a loss.",
                  "No job has generated a sample."):  # fmt: skip
        assert words in empty
    assert "svg" not in Reader(empty).tags
    text = render_page("failed", [failed(0), failed(1)])
    assert "2 jobs, 0 finished. None of them has a val/loss." in text
    assert text.count(escape(ROWS[1].reason)) == 4  # text and sort value of the cell
    assert '<tr class="best">' not in text


def test_report_of_one_job_without_test_split() -> None:
    row = finished(0, 2.5, metrics={"val/loss": 2.5, "final_val/bpc": 3.125})
    read = Reader(render_page("hidden=8", [row]))
    assert len(read.rows) == 2
    assert (read.rows[0][3], read.rows[1][3]) == ("final_val/bpc", "3.1250")
    assert "1: hidden=8 clip=1, 2.5000" in read.texts["curves"]
    assert "hidden" in read.texts["marginals"]
    assert read.cards == ["shall i summer"]


@pytest.mark.parametrize("value", [inf, nan, 1e30])
def test_report_with_diverged_job(value: float) -> None:
    diverged = finished(
        1,
        value,
        curves={"val/loss": [(20, 3.0), (40, 2.5), (60, value)], "train/loss": [(20, value)]},
        samples=[],
    )
    read = Reader(render_page("sweep", [finished(0, 2.5), replace(diverged, status="FAILED"), failed(2)]))
    assert [row[-1] for row in read.rows[1:]] == ["id0", "id1", "id2"]
    assert "2: hidden=16 clip=1" in read.texts["curves"]
    assert not {"nan", "16"} & set(read.texts["marginals"].split())
    assert "\u22121" not in read.texts["curves"], "no axis below the losses, however far a job diverged"


def test_report_with_only_diverged_points() -> None:
    curves = {"val/loss": [(20, nan), (40, inf)]}
    text = render_page("lr=9", [JobResult("lr=9", 0, {"lr": "9"}, "id", "FAILED", "diverged", curves=curves)])
    assert "No job has reported a loss." in text
    assert "No job with a val/loss" in text


def test_rank_results_order() -> None:
    rows = [finished(0, nan), failed(1), finished(2, 3.0), finished(3, inf), finished(4, 1.0)]
    assert [row.number for row in rank_results(rows)] == [4, 2, 0, 3, 1]


def test_report_shows_seed_stats() -> None:
    rows = [finished(n, 2.0 + n / 10, {"hidden": "8", "seed": str(n)}) for n in range(3)]
    assert "hidden=8: val/loss 2.1000 +- 0.1000" in Reader(render_page("seeds", rows)).texts["repeats"]


def test_jobs_link_to_their_run_and_files() -> None:
    rows = [
        finished(0, 2.0, directory="20260101-a"),
        finished(1, 2.1),  # trained on another machine
        replace(finished(2, 2.2, directory="20260101-c"), run_id="20260101-c"),  # the store did not answer
    ]
    server = "http://127.0.0.1:5000"
    text = render_page("sweep", rows, (server, "make ui"))
    links = [value for name, value in Reader(text).attributes if name == "href" and value and value[0] != "#"]
    first = [run_link(server, "id0"), "../../runs/20260101-a/"]
    files = "../../runs/20260101-c/"
    assert links == [
        *first,
        run_link(server, "id1"),
        files,
        *first,
        run_link(server, "id1"),
        files,
    ]
    assert "while <code>make ui</code> runs" in text
    assert "MLflow" not in re.sub("<script>.*", "", render_page("sweep", rows), flags=re.DOTALL)


def test_samples_of_swept_seed_share_the_middle_temperature() -> None:
    rows = [
        finished(n, 2.0, {"seed": str(n)}, samples=[sample(t, f"{t}", seed=n) for t in (0.4, 0.7, 1.0)])
        for n in (1, 2)
    ]
    read = Reader(render_page("seed=1,2", rows))
    assert read.cards == ["shall i 0.7", "shall i 0.7"]
    assert "at temperature 0.7, each with the seed of its job" in render_page("seed=1,2", rows)


def test_blank_sample_is_replaced_or_named() -> None:
    blank = sample(0.7, " \n ")
    rows = [
        finished(0, 2.0),
        finished(1, 2.1, samples=[blank, sample(1.0, "hot")]),
        finished(2, 2.2, samples=[blank]),
    ]
    read = Reader(render_page("sweep", rows))
    assert read.cards == ["shall i summer", "shall i hot", "shall i  \n "]
    assert read.texts["samples"].count("(only white space at the shared settings)") == 1
    assert read.texts["samples"].count("The network wrote only white space here.") == 1
