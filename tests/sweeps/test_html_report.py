"""comparison.html, read with the standard library's parser."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from math import inf, log, nan
from typing import Any

import pytest

from src.common.job_result import Curves, JobResult
from src.sweeps.html_report import rank_results, render_page

VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Elements by name, and the texts of table cells, elements with an id, and samples."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.kinds: list[str] = []
        self.values: list[list[str]] = []
        self.texts: dict[str, str] = {}
        self.cards: list[str] = []
        self.inside: list[tuple[str, str]] = []  # tag and id of the open elements
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        defaults = {name: value or "" for name, value in attrs}
        if tag == "tr":
            self.rows.append([])
            self.values.append([])
            self.kinds.append(defaults.get("class", ""))
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.values[-1].append(defaults.get("data-value", ""))
        elif tag == "pre":
            self.cards.append("")
        if tag not in VOID:
            self.inside.append((tag, defaults.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self.inside]
        if "td" in tags or "th" in tags:
            self.rows[-1][-1] += data.strip()
        if "pre" in tags:
            self.cards[-1] += data
        for _, name in self.inside:
            if name:
                self.texts[name] = self.texts.get(name, "") + data


def curves(last: float, steps: int = 3) -> Curves:
    points = [(20 * n, last + 1 - n / steps) for n in range(1, steps + 1)]
    return {"val/loss": points, "train/loss": [(step, value + 0.1) for step, value in points]}


def sample(
    temperature: float = 0.7, text: str = "summer", prompt: str = "shall i ", seed: int = 1
) -> dict[str, Any]:
    return {"temperature": temperature, "prompt": prompt, "text": text, "seed": seed}


def finished(number: int, loss: float, swept: dict[str, str] | None = None, **more: Any) -> JobResult:
    swept = swept or {"hidden": str(2 ** (3 + number)), "clip": "1"}
    name = " ".join(f"{key}={value}" for key, value in swept.items())
    metrics = {"val/loss": loss, "test/bpc": loss / log(2)}
    defaults = {"metrics": metrics, "curves": curves(loss), "samples": [sample()], "seconds": 12.34}
    return JobResult(name, number, swept, f"id{number}", "FINISHED", **{**defaults, **more})


def failed(number: int) -> JobResult:
    reason = "hidden: expected an integer >= 1, got 0"
    return JobResult("hidden=0 clip=1", number, {"hidden": "0", "clip": "1"}, f"id{number}", "FAILED", reason)


ROWS = [finished(0, 2.5), failed(1), finished(2, 2.25, reused=True), finished(3, 3.0)]


def test_table_lists_runs_best_first() -> None:
    read = Reader(render_page("hidden=8,0,32,64", ROWS))
    assert read.rows[0] == [
        "hidden",
        "clip",
        "val/loss",
        "test/bpc",
        "seconds",
        "status",
        "stop reason",
        "run",
    ]
    assert read.rows[1] == [
        "32",
        "1",
        "2.2500",
        f"{2.25 / log(2):.4f}",
        "12.3",
        "FINISHED, reused, best",
        "",
        "id2",
    ]
    assert [row[-1] for row in read.rows[1:]] == ["id2", "id0", "id3", "id1"]
    assert read.rows[4] == ["0", "1", "", "", "0.0", "FAILED", ROWS[1].reason, "id1"]
    assert read.kinds == ["", "best", "", "", "failed"]
    assert float(read.values[1][3]) == 2.25 / log(2)  # full precision for sorting
    assert "Best: hidden=32 clip=1, val/loss 2.2500" in render_page("", ROWS)


def test_figures_label_runs_and_axes() -> None:
    texts = Reader(render_page("sweep", ROWS)).texts
    for words in ("1: hidden=32 clip=1, 2.2500", "3: hidden=64 clip=1, 3.0000", "val/loss", "train/loss"):
        assert words in texts["curves"]
    assert "hidden=0" not in texts["curves"]
    for words in ("optimizer step", "loss [nats per character]"):
        assert words in texts["curves"]
    for words in ("hidden", "clip", "val/loss [nats per character]", "mean"):
        assert words in texts["marginals"]
    assert not {"8", "32", "64"} - set(texts["marginals"].split())  # every value has a tick


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 50])
def test_legend_lists_all_runs(count: int) -> None:
    rows = [finished(n, 2 + n / count, {"seed": str(n), "lr": str(0.001 * (n + 1))}) for n in range(count)]
    text = Reader(render_page("many", rows)).texts["curves"]
    for place, row in enumerate(rows, 1):
        assert f"{place}: {row.name}, {row.loss:.4f}" in text


def test_samples_use_common_settings() -> None:
    both = [sample(0.4, "cold"), sample(0.7, "warm"), sample(1.0, "hot")]
    rows = [finished(0, 2.0, samples=both), finished(1, 2.1, samples=both[::-1]), failed(2)]
    text = render_page("sweep", rows)
    assert Reader(text).cards == ["shall i warm", "shall i warm"]
    assert "at temperature 0.7, seed 1" in text


def test_sample_with_other_settings_is_labeled() -> None:
    rows = [finished(0, 2.0), finished(1, 2.1), finished(2, 2.2, samples=[sample(0.1, "cold")])]
    read = Reader(render_page("sweep", rows))
    assert read.cards == ["shall i summer", "shall i summer", "shall i cold"]
    assert "at temperature 0.1, seed 1" in read.texts["samples"]
    assert "at temperature 0.7" not in read.texts["samples"]


def test_text_is_escaped() -> None:
    markup = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    swept = {"prompt": markup, "hidden": "8"}
    rows = [
        finished(0, 2.0, swept, samples=[sample(0.7, markup + " $x_1$", prompt=markup)]),
        finished(1, 2.2, {"prompt": "a & b $y$", "hidden": "8"}),
        JobResult(markup, 2, swept, "id2", "FAILED", reason=f"prompt: got {markup}"),
    ]
    text = render_page(f"prompt={markup}", rows)
    read = Reader(text)
    assert read.tags.count("script") == 1
    assert "img" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert markup + markup + " $x_1$" in read.cards
    assert markup in read.texts["curves"]
    assert "a & b $y$" in read.texts["marginals"]  # dollars are not parsed as mathematics


def test_report_is_self_contained() -> None:
    text = render_page("sweep", ROWS)
    assert not re.search(r"https?:|src=|@import|url\((?!#)", text)
    read = Reader(text)
    assert not {"link", "iframe", "img"} & set(read.tags)
    assert all((value or "").startswith("#") for name, value in read.attributes if name.endswith("href"))


def test_ids_are_unique_and_references_have_their_target() -> None:
    text = render_page("sweep", ROWS)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    assert references
    assert not set(references) - set(ids)


def test_report_without_jobs() -> None:
    text = render_page("empty", [])
    assert "0 jobs, 0 finished. None of them has a val/loss." in text
    assert "No job has reported a loss." in text
    assert "No job has generated a sample." in text
    assert "svg" not in Reader(text).tags


def test_report_without_finished_jobs() -> None:
    text = render_page("failed", [failed(0), failed(1)])
    assert "2 jobs, 0 finished. None of them has a val/loss." in text
    assert text.count(escape(ROWS[1].reason)) == 4  # text and sort value of the cell
    assert "best" not in Reader(text).kinds


def test_report_of_one_job() -> None:
    read = Reader(render_page("hidden=8", [ROWS[0]]))
    assert len(read.rows) == 2
    assert "1: hidden=8 clip=1, 2.5000" in read.texts["curves"]
    assert "hidden" in read.texts["marginals"]
    assert read.cards == ["shall i summer"]


@pytest.mark.parametrize("value", [inf, nan, 1e30])
def test_report_with_diverged_job(value: float) -> None:
    points = curves(2.0)["val/loss"]
    broken = {"val/loss": [*points, (80, value)], "train/loss": [(20, value)]}
    swept = {"hidden": "16", "clip": "1"}
    diverged = JobResult(
        "hidden=16 clip=1", 1, swept, "id1", "FAILED", "diverged", False, 1.0, {"val/loss": value}, broken
    )
    read = Reader(render_page("sweep", [finished(0, 2.5), diverged, failed(2)]))
    assert "\u22121" not in read.texts["curves"], "no axis below the losses, however far a job diverged"
    assert [row[-1] for row in read.rows[1:]] == ["id0", "id1", "id2"]
    assert "2: hidden=16 clip=1" in read.texts["curves"]
    assert "nan" not in read.texts["marginals"]
    report = Reader(render_page("sweep", [diverged]))
    assert "No job with a val/loss" in report.texts["marginals"]


def test_report_with_only_diverged_points() -> None:
    diverged = JobResult(
        "lr=9", 0, {"lr": "9"}, "id", "FAILED", "diverged", curves={"val/loss": [(20, nan), (40, inf)]}
    )
    assert "No job has reported a loss." in render_page("lr=9", [diverged])


def test_rank_results_order() -> None:
    rows = [finished(0, nan), failed(1), finished(2, 3.0), finished(3, inf), finished(4, 1.0)]
    assert [row.number for row in rank_results(rows)] == [4, 2, 0, 3, 1]


def test_report_shows_seed_stats() -> None:
    rows = [finished(n, 2.0 + n / 10, {"hidden": "8", "seed": str(n)}) for n in range(3)]
    assert "hidden=8: val/loss 2.1000 +- 0.1000" in Reader(render_page("seeds", rows)).texts["repeats"]
    assert "repeats" not in Reader(render_page("sweep", ROWS)).texts


def test_score_without_test_split_is_shown() -> None:
    row = finished(0, 2.0, metrics={"val/loss": 2.0, "final_val/bpc": 3.125})
    read = Reader(render_page("sweep", [row]))
    assert "final_val/bpc" in read.rows[0]
    assert "3.1250" in read.rows[1]


def test_jobs_link_to_their_run_and_files() -> None:
    rows = [
        finished(0, 2.0, directory="20260101-a"),
        finished(1, 2.1),  # trained on another machine
        replace(finished(2, 2.2, directory="20260101-c"), run_id="20260101-c"),  # the store did not answer
    ]
    server = "http://127.0.0.1:5000"
    text = render_page("sweep", rows, (server, "make ui"))
    links = [value for name, value in Reader(text).attributes if name == "href" and value and value[0] != "#"]
    first = [f"{server}/#/runs/id0", "../../runs/20260101-a/"]
    files = "../../runs/20260101-c/"
    assert links == [*first, f"{server}/#/runs/id1", files, *first, f"{server}/#/runs/id1", files]
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
