"""Recorded results of experiments: records, parts and pages."""

import json
import re
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.job_result import JobResult
from src.experiments import results
from src.experiments.claims import Preset, tally
from src.experiments.results import earlier_measures, publish, read_record, record, render_page, section
from src.experiments.runner import (
    EXPERIMENTS,
    FOLDER,
    ExperimentResult,
    build_result,
    get_experiment,
    path_overrides,
)
from src.tracking.mlflow_links import run_link
from tests.commands import PROJECT, RunCli
from tests.fake_jobs import clipping_sweep, job_result, variants


def test_result_is_recorded_and_rendered(tmp_path: Path) -> None:
    outcome = build_result(EXPERIMENTS["clipping"], "quick", clipping_sweep(), seconds=12.0)
    assert [v.passed for v in outcome.claims].count(False) == 0
    record(outcome, tmp_path)
    recorded = read_json(tmp_path / "clipping.json")
    assert recorded["measures"]["off_high/diverged"] == 1
    assert (tmp_path / "clipping.svg").read_text().startswith("<?xml")
    bad = ExperimentResult(EXPERIMENTS["state"], "quick", missing="the sweep <ended> with status 2")
    html = render_page([outcome, bad], {"cores": 2})
    assert html.count("<svg") == 1
    assert f"{len(outcome.claims)} claims reproduced, 0 not reproduced, 0 not run" in html
    assert "&lt;ended&gt;" in html
    assert "http" not in html.replace("http://www.w3.org", ""), "the page needs no network"


def with_text(job: JobResult, text: str) -> JobResult:
    sample = {"temperature": 0.7, "prompt": "o ", "text": text, "seed": 1}
    return replace(job, name=" ".join(f"{k}={v}" for k, v in job.swept.items()), samples=[sample])


def test_report_shows_diverged_jobs_beside_clipped_ones() -> None:
    jobs = [with_text(job, "love") for job in clipping_sweep()]
    silent = next(k for k, job in enumerate(jobs) if job.name == "lr=3 clip=null seq_len=20 seed=1")
    jobs[silent] = replace(jobs[silent], status="FAILED", reason="diverged", samples=[])
    shown = section(build_result(EXPERIMENTS["clipping"], "quick", jobs), "")
    assert [(s["name"], s["settings"]) for s in shown["samples"]] == [
        ("lr=3 clip=0.5 seq_len=20 seed=1", "val/loss 2.0000"),
        ("lr=3 clip=null seq_len=100 seed=1", "val/loss 30.0000, diverged: train/loss 30 at the end"),
        ("lr=3 clip=0.5 seq_len=100 seed=1", "val/loss 2.0000"),
    ]
    assert "Without a sample: lr=3 clip=null seq_len=20 seed=1 (FAILED, diverged)." in shown["selection"]


def test_report_shows_another_seed_for_a_blank_sample() -> None:
    jobs = variants(reset=(2.2, 2.2), shuffled=(2.3, 2.3), streams=(2.1, 2.1))
    texts = ("love", "love", "  ", "hate", " ", "  ")
    jobs = [with_text(job, text) for job, text in zip(jobs, texts, strict=True)]
    outcome = build_result(EXPERIMENTS["state"], "quick", jobs)
    assert [s["name"] for s in section(outcome, "")["samples"]] == [
        "variant=x/reset seed=0",
        "variant=x/shuffled seed=1",
        "variant=x/streams seed=0",
    ]
    assert render_page([outcome], {}).count("The network wrote only white space here.") == 1


def record_karpathy_size(size: str, loss: float, folder: Path) -> ExperimentResult:
    """Record `python -m src.reproduce experiments=[karpathy2015_SIZE]` with three jobs of one loss."""
    jobs = variants(**{f"{cell}_{size}": (loss / log(2),) for cell in ("rnn", "gru", "lstm")})
    earlier = earlier_measures(folder, "karpathy2015", "full")
    part = get_experiment(f"karpathy2015_{size}")
    outcome = build_result(part, "full", jobs, seconds=60.0, earlier=earlier)
    record(outcome, folder)
    return outcome


def read_json(file: Path) -> Any:
    return json.loads(file.read_text())


def test_parts_of_experiment_are_combined(tmp_path: Path) -> None:
    first = record_karpathy_size("64", 1.43, tmp_path)
    assert [claim.word for claim in first.claims] == ["reproduced"] * 3 + ["not run"] * 6
    assert all("size 64: " in claim.claim for claim in first.claims[:3])
    assert tally(claim.passed for claim in first.claims) == "3 claims reproduced, 0 not reproduced, 6 not run"
    assert first.claims[3].line() == f"not run         {first.claims[3].claim}"
    second = record_karpathy_size("256", 9.0, tmp_path)
    words = ["reproduced"] * 3 + ["not run"] * 3 + ["NOT reproduced"] * 3
    assert [claim.word for claim in second.claims] == words
    recorded = read_json(tmp_path / "karpathy2015.json")
    assert (recorded["jobs"], recorded["seconds"], list(recorded["parts"])) == (6, 120.0, ["64", "256"])
    assert recorded["parts"]["64"]["command"].endswith("experiment=karpathy2015_64")
    assert [c["passed"] for c in recorded["claims"]] == [True] * 3 + [None] * 3 + [False] * 3
    assert [c["value"] for c in recorded["claims"] if c["passed"] is None] == [None] * 3
    drawn = (tmp_path / "karpathy2015.svg").read_text()
    assert "rnn, measured" in drawn
    assert "rnn, paper (from memory)" in drawn
    html = render_page([second], {})
    assert "3 claims reproduced, 3 not reproduced, 3 not run" in html
    assert html.count(">not run</td>") == 3
    assert "nan" not in html


def test_publish_keeps_parts_of_other_runs(tmp_path: Path) -> None:
    kept = tmp_path / "experiments"
    for size, loss in (("64", 1.43), ("128", 1.3)):
        folder = tmp_path / size  # separate output directories
        record_karpathy_size(size, loss, folder)
        publish(folder, kept)
    recorded = read_json(kept / "karpathy2015" / "measured.json")
    assert list(recorded["parts"]) == ["64", "128"]
    assert recorded["measures"]["gru_64/loss"] == pytest.approx(1.43)
    assert recorded["measures"]["gru_128/loss"] == pytest.approx(1.3)
    assert [c["passed"] for c in recorded["claims"][-3:]] == [None] * 3
    assert all("quoted from memory" in c["claim"] for c in recorded["claims"])
    assert (kept / "karpathy2015" / "figure.svg").exists()


def test_quick_record_does_not_replace_full_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, kept = tmp_path / "whole", tmp_path / "experiments"
    presets: tuple[tuple[Preset, float], ...] = (("full", 2.1), ("quick", 2.0), ("full", 1.9))
    for preset, loss in presets:
        jobs = variants(reset=(2.2,), shuffled=(2.3,), streams=(loss,))
        record(build_result(EXPERIMENTS["state"], preset, jobs), whole)
        publish(whole, kept)
        is_kept = "state: kept the record of preset=full" in capsys.readouterr().err
        assert is_kept == (preset == "quick")
        for published, recorded in (("measured.json", "state.json"), ("figure.svg", "state.svg")):
            is_equal = (kept / "state" / published).read_bytes() == (whole / recorded).read_bytes()
            assert is_equal == (preset == "full")


def test_full_experiment_replaces_parts(tmp_path: Path) -> None:
    record_karpathy_size("64", 1.43, tmp_path)
    names = [f"{cell}_{size}" for size in (64, 128, 256) for cell in ("rnn", "gru", "lstm")]
    whole = EXPERIMENTS["karpathy2015"]
    record(build_result(whole, "full", variants(**dict.fromkeys(names, (1.9,)))), tmp_path)
    recorded = read_json(tmp_path / "karpathy2015.json")
    assert "parts" not in recorded
    assert recorded["measures"]["rnn_64/loss"] == pytest.approx(1.9 * log(2))
    with pytest.raises(UserError, match="expected the metric rnn_128/over_paper, got none"):
        build_result(whole, "full", variants(**dict.fromkeys(names[:3], (1.9,))))
    record_karpathy_size("128", 1.3, tmp_path)
    recorded = read_json(tmp_path / "karpathy2015.json")
    assert list(recorded["parts"]) == ["all", "128"]
    assert recorded["measures"]["rnn_256/loss"] == pytest.approx(1.9 * log(2))


def test_pipeline_run_is_recorded_with_samples(tmp_path: Path) -> None:
    job = job_result({}, test__bpc=2.36, test_stateless__bpc=2.44, test__ngram3_bpc=2.7)
    job.metrics.update({"repeat/identical": 1, "train/best_step": 30, "throughput/chars_per_second": 1})
    job.samples.append({"temperature": 0.7, "prompt": "o ", "text": "love", "seed": 1})
    outcome = build_result(EXPERIMENTS["sonnets"], "full", [job])
    record(outcome, tmp_path)
    publish(tmp_path, tmp_path / "experiments")
    recorded = read_record(tmp_path / "experiments" / "sonnets" / "measured.json")
    assert recorded is not None
    assert (recorded["command"], recorded["samples"]) == ("python -m src.pipeline", {"0.7": "o love"})
    assert recorded["measures"]["train/best_step"] == 30
    assert "throughput/chars_per_second" not in recorded["measures"], "timing metrics are not recorded"
    assert [claim["passed"] for claim in recorded["claims"]] == [True] * 5
    assert "temperature 0.7" in render_page([outcome], {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"half', "expecting|EOF|Unterminated"),
        ("[]", "content: "),
        ('{"preset": "huge"}', "preset: |command: "),
    ],
)
def test_damaged_record_is_reported_in_one_line(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.json").write_text(text)
    message = rf"experiments: expected a whole state.json, .* \(.*({reason})"
    with pytest.raises(UserError, match=f"^{message}"):
        publish(tmp_path, tmp_path / "experiments")
    assert results.main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"results: {message}", line)
    assert not (tmp_path / "experiments").exists()


def test_pages_show_measured_results(tmp_path: Path) -> None:
    texts = [file.read_text(encoding="utf-8") for file in (PROJECT / "README.md", FOLDER / "README.md")]
    copies = [tmp_path / "README.md", tmp_path / "experiments.md"]
    for text, copy in zip(texts, copies, strict=True):
        old = re.sub(r"\d+ not reproduced", "99 not reproduced", text)
        assert old != text
        copy.write_text(old, encoding="utf-8")
    results.update_pages(*copies)
    assert [copy.read_text(encoding="utf-8") for copy in copies] == texts, "out of date: make update-results"
    copies[1].write_text("no table")
    with pytest.raises(ValueError, match="expected <!-- results -->"):
        results.update_pages(*copies)


def test_expected_seconds_are_scaled_from_records(tmp_path: Path) -> None:
    """The quick preset of clipping has 48 of 300 jobs and 0.3 of 1 epoch."""
    clipping = EXPERIMENTS["clipping"]
    full = results.expected_seconds(clipping, "full", tmp_path)
    assert full == json.loads((FOLDER / "clipping" / "measured.json").read_text())["seconds"]
    quick = results.expected_seconds(clipping, "quick", tmp_path)
    assert quick == pytest.approx(full * 48 / 300 * 0.3)
    part = results.expected_seconds(get_experiment("karpathy2015_64"), "full", tmp_path)
    assert part == pytest.approx(results.expected_seconds(EXPERIMENTS["karpathy2015"], "full", tmp_path) / 3)
    record = json.loads((FOLDER / "clipping" / "measured.json").read_text()) | {
        "preset": "quick",
        "seconds": 7.0,
    }
    (tmp_path / "clipping.json").write_text(json.dumps(record))
    assert results.expected_seconds(clipping, "quick", tmp_path) == 7.0, "this machine's own record"


def test_runs_of_reproduce_are_kept_apart(run_cli: RunCli, tmp_path: Path) -> None:
    """`latest` and `best` look for the user's runs in output_dir/runs and in the experiment char-rnn."""
    seen: list[list[str]] = []
    run_cli("reproduce", f"output_dir={tmp_path}", body=lambda c: seen.append(path_overrides(c))).check()
    folder, _, *tracking = seen[0]
    assert folder == f"output_dir={tmp_path / 'reproduction'}"
    store = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking == ["tracking=mlflow", store, "tracking.experiment=reproduce"]


def test_reproduce_writes_report_with_links(
    run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = [replace(with_text(job, "love"), run_id="a1", directory="d1") for job in clipping_sweep()]
    outcome = replace(build_result(EXPERIMENTS["clipping"], "quick", jobs), comparison="sweeps/s/page.html")
    monkeypatch.setattr("src.experiments.runner.run", lambda *_: outcome)
    for tracking, links in (
        ("mlflow", {run_link("http://127.0.0.1:5000", "a1")}),
        ("none", set()),
    ):
        run_cli(
            "reproduce", "experiments=[clipping]", f"output_dir={tmp_path}", f"tracking={tracking}"
        ).check()
        page = (tmp_path / "reproduction.html").read_text()
        files = {"reproduction/sweeps/s/page.html", "reproduction/runs/d1/"}
        assert set(re.findall(r'<a [^>]*href="([^"]*)"', page)) == files | links
        assert ("The links to MLflow open while" in page) == bool(links)
