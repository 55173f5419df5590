"""experiments/: configs, claims and arguments of every experiment, and the check of claims."""

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.common.files import write_text
from src.config.schema import EXPERIMENTS as NAMES
from src.config.schema import SUB_EXPERIMENTS
from src.experiments.claims import Claim, Preset, check_claims, read_claims
from src.experiments.results import render_page, section
from src.experiments.runner import EXPERIMENTS, FOLDER, QUICK, RUNS, build_arguments, get_experiment, run
from tests.commands import PROJECT
from tests.page_checks import check_layout, figure_names

PRESETS: tuple[Preset, ...] = ("quick", "full")


def test_arguments_of_experiment() -> None:
    line = build_arguments(EXPERIMENTS["state"], "quick", ["output_dir=x"], None)
    assert line[:2] == ["--multirun", "experiment=state_quick"]
    assert {"skip_finished=true", "hydra/launcher=joblib", "output_dir=x"} <= set(line)
    full = build_arguments(EXPERIMENTS["karpathy2015"], "full", [], "book.txt")
    assert {"experiment=karpathy2015", "data.path=book.txt"} <= set(full)
    assert build_arguments(EXPERIMENTS["sonnets"], "full", ["output_dir=x"], None) == ["output_dir=x"]
    assert "hydra/launcher=joblib" not in build_arguments(EXPERIMENTS["tinyshakespeare"], "full", [], None)


def test_experiment_without_text_is_skipped(tmp_path: Path) -> None:
    outcome = run(EXPERIMENTS["karpathy2015"], "full", [], tmp_path, {})
    assert outcome.missing == "it requires your copy of the text: warandpeace=FILE"
    assert "not run" in section(outcome, "")["note"]


def test_every_experiment_has_readme_config_and_claims() -> None:
    assert set(NAMES) == set(EXPERIMENTS)
    assert set(QUICK) <= set(NAMES)
    for name, experiment in EXPERIMENTS.items():
        readme = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        assert readme.startswith(f"# {name}: ")
        assert "](figure.svg)" in readme, "the text alternative of the figure"
        assert f"experiment={name}" in readme or name in ("tinyshakespeare", "sonnets")
        for preset in PRESETS if name != "sonnets" else ():
            assert (PROJECT / "conf" / "experiment" / f"{experiment.config(preset)}.yaml").exists()
        assert read_claims(FOLDER / name / "expected.json", "full"), name


def test_claims_are_filtered_by_preset_and_checked(tmp_path: Path) -> None:
    claims = [
        {"claim": "a", "measure": "x", "source": "s", "max": 1},
        {"claim": "b", "measure": "x - y", "source": "s", "min": 1, "preset": "full"},
    ]
    file = tmp_path / "expected.json"
    file.write_text(json.dumps({"claims": claims}))
    assert [c.claim for c in read_claims(file, "quick")] == ["a"]
    found = check_claims(read_claims(file, "full"), {"x": 2.0, "y": 0.5})
    verdicts = [(False, 2.0, "NOT reproduced"), (True, 1.5, "reproduced")]
    assert [(v.passed, v.value, v.word) for v in found] == verdicts
    for value in (inf, nan):
        (verdict,) = check_claims([Claim("c", "x", "s", min=0)], {"x": value})
        assert verdict.passed is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{}", "claims: "),
        ('{"claims": [{"claim": "c", "measure": "m", "source": 1}]}', r"claims\.0\.source: "),
        ('{"claims": [{"claim": "c", "measure": "m", "source": "s", "least": 1}]}', r"claims\.0\.least: "),
    ],
)
def test_damaged_claims_are_reported_in_one_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "expected.json").write_text(text)
    with pytest.raises(UserError, match=rf"^experiments: expected a whole expected.json, .*\({reason}"):
        read_claims(tmp_path / "expected.json")
    with pytest.raises(UserError, match=r"expected a whole expected.json, got a damaged one in .*/none"):
        read_claims(tmp_path / "none" / "expected.json")


def test_every_part_has_config_and_claims() -> None:
    for name in SUB_EXPERIMENTS:
        part = get_experiment(name)
        assert part.cli_name == part.config("quick") == part.config("full") == name
        text = (PROJECT / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        variants = text.rpartition("variant: ")[2].strip().split(",")
        assert [v.rpartition("_")[2] for v in variants] == [part.part] * 3
        claims = [c for c in read_claims(FOLDER / part.name / "expected.json", "full") if c.measure]
        assert sum(f"_{part.part}/" in claim.measure for claim in claims) == 3


@pytest.mark.slow
def test_small_experiment_end_to_end(tmp_path: Path, capfd: Any, chromium: Any) -> None:
    outputs = tmp_path / RUNS
    overrides = [f"output_dir={outputs}", f"data_dir={tmp_path / 'data'}", "tracking=none", "seed=1",
                 "hidden=4", "max_epochs=0.02", "length=600"]  # fmt: skip
    outcome = run(EXPERIMENTS["temperature"], "quick", overrides, outputs, {})
    assert not outcome.missing, capfd.readouterr().err
    assert [r.status for r in outcome.results] == ["FINISHED"]
    assert outcome.measures["known_words@0.1"] >= 0
    assert [k for k, _ in outcome.results[0].gradient] == list(range(20)), "gradient of the best weights"
    assert not all(v.passed for v in outcome.claims), "the tiny network cannot reproduce the claims"
    file = tmp_path / "reproduction.html"
    write_text(file, render_page([outcome], {}))
    page = chromium.new_page()
    page.set_default_timeout(20_000)
    page.goto(file.as_uri())
    assert "NOT reproduced" in page.locator(".claims").inner_text()
    check_layout(page)
    assert figure_names(page) == [
        "Samples by temperature: shares and the longest copied passage over temperature"
    ]
    names = page.locator(".samples figcaption").all_inner_texts()
    assert [name.split()[1] for name in names] == ["0.1", "0.2", "0.5", "0.9", "1.2", "2"]
    page.get_by_role("link", name="All jobs, their curves and files").click()
    page.get_by_role("heading", name="sweep temperature_quick").wait_for()
    page.get_by_role("link", name="files").first.click()
    page.get_by_role("link", name="scores.json").wait_for()
    page.close()
