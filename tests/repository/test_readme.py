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


@pytest.mark.parametrize(
    "metric",
    [
        "test/bpc",
        "test_stateless/bpc",
        "test/bpc_ci_low",
        "test/bpc_ci_high",
        "test_stateless/bpc_ci_low",
        "test_stateless/bpc_ci_high",
        "test/bpc_minus_ngram",
        "test/bpc_minus_ngram_ci_low",
        "test/bpc_minus_ngram_ci_high",
        "test/ngram5_bpc",
        "test/ngram3_bpc",
        "test/ngram2_bpc",
        "test/unigram_bpc",
        "test/uniform_bpc",
        "test/gzip_bpc",
        "test/bzip2_bpc",
        "test/xz_bpc",
    ],
)
def test_readme_scores_are_measured(metric: str) -> None:
    value = measured("experiments/sonnets/measured.json")["measures"][metric]
    assert f"{value:.3f}" in block("scores")


def test_readme_is_short_with_contents() -> None:
    assert README.count("\n") <= 150
    assert "git clone ADDRESS " in README
    sections = re.findall(r"^## (.*)$", README, re.MULTILINE)
    contents = README.partition("## ")[0]
    for section in sections:
        assert f"[{section}](#{section.lower().replace(' ', '-')})" in contents, section


def test_readme_sample_is_from_measured_run() -> None:
    text = measured("experiments/sonnets/measured.json")["samples"]["0.7"]
    shown = block("sample").strip().removeprefix("> ")
    assert len(shown) > 80
    assert shown in text


def test_readme_speed_is_measured() -> None:
    data = measured("benchmarks/throughput.json")
    for row in data["profile"]:  # no call is counted twice
        assert row["products"] + row["elementwise"] < 1.1 * row["milliseconds"], row["case"]
    rows = {
        tuple(row["case"][k] for k in ("cell", "hidden", "batch")): row["ratio"] for row in data["training"]
    }
    assert f"{rows['rnn', 128, 64]:.2f} times PyTorch's" in MEASUREMENTS
    assert f"{rows['rnn', 128, 64]:.1f} times as fast on a CPU" in README
    assert f"comes to {rows['lstm', 128, 64]:.2f} and {rows['lstm', 512, 64]:.2f}" in MEASUREMENTS
    assert f"| {data['naive']['ratio']:.0f} times |" in MEASUREMENTS
    assert f"{data['naive']['ratio']:.0f} times the speed of a loop of its kind" in README
    lengths = {
        tuple(row["case"][k] for k in ("cell", "hidden", "seq_len", "batch")): row["ratio"]
        for row in data["training"]
    }
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
    assert (
        f"test_stateless/bpc - test/bpc = {metrics['test_stateless/bpc'] - metrics['test/bpc']:.4f}" in screen
    )
    assert f"step {metrics['train/best_step']:g}/{metrics['train/steps']:g} " in screen
    assert f"val {metrics['val/loss']:.3f} nats" in screen
    claims = [claim["claim"] for claim in measured("experiments/sonnets/expected.json")["claims"]]
    shown = re.findall(r"^reproduced {6}(.*)$", screen, re.MULTILINE)
    assert len(shown) == 2
    assert set(shown) <= set(claims)


def test_documented_worker_difference_is_measured() -> None:
    data = measured("benchmarks/determinism.json")
    assert set(data["repeats"].values()) == {True}
    weights, loss = (max(row[key] for row in data["differences"]) for key in ("weights", "val_loss"))
    scores = (PROJECT / "docs" / "scores.md").read_text(encoding="utf-8")
    assert block("parted", scores) == f"{weights:.1%} of the weights and {loss:.0e} of `val/loss`"


def test_documented_kernel_difference_is_measured() -> None:
    data = measured("benchmarks/kernels.json")
    assert data["threads_matter"] == []
    assert {"Prescott", "Haswell"} <= data["families"].keys()
    scores = (PROJECT / "docs" / "scores.md").read_text(encoding="utf-8")
    loss, bpc = (least_digits(data, name) for name in ("val/loss", "test/bpc"))
    assert block("digits", scores) == f"{loss} for `val/loss`, {bpc} for `test/bpc`"
    assert min(loss, bpc) > 4


def test_one_blas_thread_costs_less_than_ten_percent() -> None:
    data = measured("benchmarks/evaluation_cost.json")["evaluations"]
    assert len(data) == 6
    assert max(row["ratio"] for row in data) < 1.1


def test_documented_make_targets_exist() -> None:
    files = [
        *PROJECT.glob("*.md"),
        *(f for folder in ("docs", "experiments", "benchmarks") for f in (PROJECT / folder).rglob("*.md")),
    ]
    pages = [file.read_text(encoding="utf-8") for file in files]
    targets_named = {
        target for page in pages for target in re.findall(r"(?:`|^ *)make ([a-z-]+)", page, re.MULTILINE)
    }
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert {
        "reproduce",
        "test",
        "ui",
        "help",
        "bench",
        "dev",
        "bench-quickstart",
        "update-results",
    } <= targets_named
    assert targets_named <= explained


def test_make_targets_are_explained_and_phony() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert targets == phony == explained


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
