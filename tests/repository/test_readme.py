"""Numbers and commands of the README match the measurements and the Makefile."""

import json
import re
from math import log
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import least_digits
from src.experiments.training_analyses import NANOGPT_CPU
from tests.commands import run_process

PROJECT = Path(__file__).resolve().parents[2]
NANOGPT = NANOGPT_CPU[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
MEASUREMENTS = (PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def measured(file: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((PROJECT / file).read_text(encoding="utf-8"))
    return data


def block(mark: str, page: str = README) -> str:
    """Return the text between <!-- mark --> and <!-- /mark -->."""
    return page.partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]


BASELINES = ("ngram5", "ngram3", "ngram2", "unigram", "uniform", "gzip", "bzip2", "xz")


def test_readme_scores_are_measured() -> None:
    measures = measured("experiments/sonnets/measured.json")["measures"]
    baselines = [f"{name}_bpc" for name in BASELINES]
    intervals = [f"{name}{end}" for name in ("bpc", "bpc_minus_ngram") for end in ("", "_ci_low", "_ci_high")]
    scores = [f"test/{name}" for name in baselines + intervals]
    scores += [f"test_stateless/{name}" for name in intervals[:3]]
    assert [name for name in scores if f"{measures[name]:.3f}" not in block("scores")] == []


def test_readme_is_short_with_contents() -> None:
    assert README.count("\n") <= 150
    assert "git clone ADDRESS " in README
    contents = README.partition("## ")[0]
    for section in re.findall(r"^## (.*)$", README, re.MULTILINE):
        assert f"[{section}](#{section.lower().replace(' ', '-')})" in contents, section


def test_readme_sample_is_from_measured_run() -> None:
    shown = block("sample").strip().removeprefix("> ")
    assert len(shown) > 80
    assert shown in measured("experiments/sonnets/measured.json")["samples"]["0.7"]


def test_readme_speed_is_measured() -> None:
    data = measured("benchmarks/throughput.json")
    for row in data["profile"]:  # no call is counted twice
        assert row["products"] + row["elementwise"] < 1.1 * row["milliseconds"], row["case"]
    names = ("cell", "hidden", "seq_len", "batch")
    lengths = {tuple(row["case"][name] for name in names): row["ratio"] for row in data["training"]}
    ratios = {(cell, hidden, batch): ratio for (cell, hidden, _, batch), ratio in lengths.items()}
    assert f"{ratios['rnn', 128, 64]:.2f} times PyTorch's" in MEASUREMENTS
    assert f"{ratios['rnn', 128, 64]:.1f} times as fast on a CPU" in README
    assert f"comes to {ratios['lstm', 128, 64]:.2f} and {ratios['lstm', 512, 64]:.2f}" in MEASUREMENTS
    assert f"| {data['naive']['ratio']:.0f} times |" in MEASUREMENTS
    assert f"{data['naive']['ratio']:.0f} times the speed of a loop of its kind" in README
    small, large = lengths["rnn", 128, 20, 64], lengths["rnn", 512, 64, 64]
    assert f"{small:.2f} times its training speed at 128 units, {large:.2f} at 512" in README


def test_readme_numbers_are_measured() -> None:
    tiny = measured("experiments/tinyshakespeare/measured.json")["measures"]["loss"]
    tracking = measured("benchmarks/tracking_cost.json")
    low, high = tracking["interval"]
    assert f"{tiny:.3f} nats (nanoGPT's CPU recipe: {NANOGPT:.3f})" in MEASUREMENTS
    assert f"{tiny:.3f} nats per character ({tiny / log(2):.3f} bits; " in README
    assert f"nanoGPT's CPU recipe {NANOGPT:.3f} nats in the same time" in README
    assert f"{tiny:.3f} nats to its {NANOGPT:.3f}" in README
    assert f"{tracking['cost']:+.1%} ({low:+.1%} to {high:+.1%}) of the training time" in MEASUREMENTS
    assert (low <= 0 <= high) == ("of the training time: nothing measurable" in MEASUREMENTS)
    assert f"{measured('benchmarks/probing_cost.json')['share']:.1%} of the training time" in MEASUREMENTS
    sweep = measured("benchmarks/sweep_time.json")
    assert sweep["ratio"] <= sweep["bound"] == 0.6
    assert f"{sweep['ratio']:.2f} of the time" in MEASUREMENTS


def test_readme_output_is_measured() -> None:
    screen = README.partition("## What comes out")[2].partition("<!-- scores -->")[0]
    metrics = measured("experiments/sonnets/measured.json")["measures"]
    difference = metrics["test_stateless/bpc"] - metrics["test/bpc"]
    assert f"test_stateless/bpc - test/bpc = {difference:.4f}" in screen
    assert f"step {metrics['train/best_step']:g}/{metrics['train/steps']:g} " in screen
    assert f"val {metrics['val/loss']:.3f} nats" in screen
    claims = [claim["claim"] for claim in measured("experiments/sonnets/expected.json")["claims"]]
    shown = re.findall(r"^reproduced {6}(.*)$", screen, re.MULTILINE)
    assert len(shown) == 2
    assert set(shown) <= set(claims)


def test_documented_differences_are_measured() -> None:
    scores = (PROJECT / "docs" / "scores.md").read_text(encoding="utf-8")
    workers, kernels = measured("benchmarks/determinism.json"), measured("benchmarks/kernels.json")
    assert set(workers["repeats"].values()) == {True}
    weights, loss = (max(row[key] for row in workers["differences"]) for key in ("weights", "val_loss"))
    assert block("parted", scores) == f"{weights:.1%} of the weights and {loss:.0e} of `val/loss`"
    assert kernels["threads_matter"] == []
    assert {"Prescott", "Haswell"} <= kernels["families"].keys()
    digits = [least_digits(kernels, name) for name in ("val/loss", "test/bpc")]
    assert block("digits", scores) == "{} for `val/loss`, {} for `test/bpc`".format(*digits)
    assert min(digits) > 4


def test_one_blas_thread_costs_less_than_ten_percent() -> None:
    data = measured("benchmarks/evaluation_cost.json")["evaluations"]
    assert len(data) == 6
    assert max(row["ratio"] for row in data) < 1.1


def test_make_targets_are_documented_explained_and_phony() -> None:
    files = [*PROJECT.glob("*.md")]
    files += [
        file for folder in ("docs", "experiments", "benchmarks") for file in (PROJECT / folder).rglob("*.md")
    ]
    pages = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(r"(?:`|^ *)make ([a-z-]+)", pages, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"reproduce", "test", "ui", "help", "bench", "dev", "bench-quickstart"} <= named <= targets
    assert targets == set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert targets == set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def test_make_help_starts_with_basic_targets() -> None:
    help_page = run_process(["make", "--no-print-directory", "help"]).check().out
    names = re.findall(r"^  make ([a-z-]+)", help_page, re.MULTILINE)
    assert names[:5] == ["setup", "reproduce", "test", "ui", "play"]
    assert sorted([*names, "help"]) == sorted(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert len(re.findall(r"^[A-Z]", help_page, re.MULTILINE)) == 5, "headings of target groups"
    assert max(len(line) for line in help_page.splitlines()) <= 80


@pytest.mark.parametrize("lock", [f"requirements{of}.lock" for of in ("", "-run", "-uv", "-cluster")])
def test_locks_have_hashes_and_no_url(lock: str) -> None:
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    requirements = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert requirements
    assert all("==" in pin and "--hash=sha256:" in pin for pin in requirements)


def test_documented_gradient_error_is_measured() -> None:
    """Columns of gradients.txt: cell, activation, layers, dropout, max relative error, parameter."""
    table = (PROJECT / "benchmarks" / "gradients.txt").read_text(encoding="utf-8").splitlines()
    worst = [float(line.split()[4]) for line in table[1:-1]]
    assert len(worst) == 5 * len({line.split()[0] + line.split()[1] for line in table[1:-1]})
    bound = re.search(r"gradients against complex steps.*relative error at most (\S+) ", MEASUREMENTS)
    assert bound
    assert f"relative error of at most {bound.group(1)}\n" in README
    assert max(worst) <= float(bound.group(1))
    assert table[-1].startswith("PASS: ")


def test_documented_mutation_result_is_measured() -> None:
    """Columns: changes, noticed, timeout, explained, open, not run."""
    table = (PROJECT / "benchmarks" / "mutation.md").read_text(encoding="utf-8")
    match = re.search(r"\| \*\*all\*\* \| " + r" \| ".join([r"(\d+)"] * 6) + r" \|", table)
    assert match
    changes, noticed, endless, explained, opened, missing = map(int, match.groups())
    assert (opened, missing) == (0, 0)
    assert f"| {noticed + endless:,} of {changes:,}; why the other {explained} change nothing" in MEASUREMENTS


def test_documented_coverage_is_measured() -> None:
    report = (PROJECT / "benchmarks" / "coverage.txt").read_text(encoding="utf-8")
    (total,) = re.findall(r"^TOTAL .* (\d+)%$", report, re.MULTILINE)
    assert f"that the tests reach | {total}% |" in MEASUREMENTS
    assert f"tests reach {total}% of the" in README
    assert int(total) >= 95
