"""What the README says is what the committed measurements say, and what it tells to type exists."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")


def measured(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PROJECT / file).read_text(encoding="utf-8"))
    return found


def between(mark: str) -> str:
    """The part of the README between <!-- mark --> and <!-- /mark -->."""
    return README.partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]


@pytest.mark.parametrize(
    "metric",
    [
        "test/bpc",
        "test_reset/bpc",
        "test/bpc_low",
        "test/bpc_high",
        "test_reset/bpc_low",
        "test_reset/bpc_high",
        "test/bpc_minus_ngram",
        "test/bpc_minus_ngram_low",
        "test/bpc_minus_ngram_high",
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
def test_scores_are_those_that_were_measured(metric: str) -> None:
    value = measured("experiments/sonnets/measured.json")["metrics"][metric]
    assert f"{value:.3f}" in between("scores")


def test_the_sample_was_written_by_the_measured_run() -> None:
    text = measured("experiments/sonnets/measured.json")["samples"]["0.7"]
    shown = between("sample").strip().removeprefix("> ")
    assert len(shown) > 80
    assert shown in text


def test_speed_is_that_of_the_benchmark() -> None:
    found = measured("benchmarks/throughput.json")
    rows = {
        tuple(row["case"][k] for k in ("cell", "hidden", "batch")): row["ratio"] for row in found["training"]
    }
    assert f"{rows['rnn', 128, 64]:.2f} times PyTorch's" in README
    assert f"{rows['rnn', 128, 64]:.1f} times as fast on a CPU" in README
    assert f"comes to {rows['lstm', 128, 64]:.2f} and {rows['lstm', 512, 64]:.2f}" in README
    assert f"| {found['naive']['ratio']:.0f} times |" in README


def test_the_other_figures_are_those_that_were_measured() -> None:
    tiny = measured("experiments/tinyshakespeare/measured.json")["measures"]["loss"]
    cost = measured("benchmarks/tracking_cost.json")["cost"]
    assert f"{tiny:.3f} nats" in README
    assert f"{cost:+.1%} of the training time" in README


def test_what_workers_part_by_is_what_was_measured() -> None:
    found = measured("benchmarks/determinism.json")
    assert set(found["repeats"].values()) == {True}
    weights, loss = (max(row[key] for row in found["differences"]) for key in ("weights", "val_loss"))
    assert between("parted") == f"{weights:.1%} of the weights and {loss:.0e} of `val/loss`"


def test_every_make_target_that_a_page_names_exists_and_is_explained() -> None:
    pages = [README, *(file.read_text(encoding="utf-8") for file in (PROJECT / "experiments").rglob("*.md"))]
    named = {
        target for page in pages for target in re.findall(r"(?:`|^ *)make ([a-z-]+)", page, re.MULTILINE)
    }
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert {"reproduce", "test", "ui", "help", "bench"} <= named
    assert named <= explained


def test_every_target_of_the_makefile_is_explained_and_phony() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert targets == phony == explained


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-uv.lock", "requirements-cluster.lock"])
def test_locks_carry_hashes_and_no_address(lock: str) -> None:
    text = (PROJECT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    requirements = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert requirements
    assert all("==" in pin and "--hash=sha256:" in pin for pin in requirements)
