"""experiments/: what the jobs of a sweep measure, whether the claims hold, the page of it all."""

import json
from dataclasses import replace
from math import inf, log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from src import results
from src.config import EXPERIMENTS as NAMES
from src.config import PARTS
from src.errors import InputError
from src.lab.reproduction import recording
from src.lab.reproduction.claims import Claim, all_held, read_claims, tally, verdicts
from src.lab.reproduction.experiments import (
    EXPERIMENTS,
    FOLDER,
    QUICK,
    Outcome,
    command,
    conclude,
    named,
    run,
)
from src.lab.reproduction.findings import (
    cells,
    clipping,
    context,
    karpathy2015,
    state,
    temperature,
    tinyshakespeare,
)
from src.lab.reproduction.recording import keep, measured_before, record
from src.lab.reproduction.report import page, section
from src.lab.runs.rows import GRADIENTS, Row, kept_gradient, read_rows, write_rows

PROJECT = Path(__file__).resolve().parent.parent
UNIFORM = 4.75


def row(swept: dict[str, str], status: str = "FINISHED", **metrics: float) -> Row:
    found = {"test/uniform_bpc": UNIFORM} | {name.replace("__", "/"): v for name, v in metrics.items()}
    curve = [(10, 3.3), (20, 2.5), (30, metrics.get("val__loss", 2.0))]
    curves = {"train/loss": curve, "val/loss": curve}
    return Row(str(swept), 0, swept, "id", status, metrics=found, curves=curves)


def clipped() -> list[Row]:
    """A sweep in which only the high learning rate diverges."""
    rows = []
    for lr in ("0.3", "3"):
        for clip in ("0.5", "25", "null"):
            for length in ("20", "100"):
                for seed in ("1", "2"):
                    bad = lr == "3" and clip != "0.5"
                    loss = 30.0 if bad else 2.0 if lr == "3" else 2.3 if clip == "null" else 2.31
                    swept = {"lr": lr, "clip": clip, "seq_len": length, "seed": seed}
                    rows.append(row(swept, val__loss=loss))
    return rows


def arms(**bits: tuple[float, ...]) -> list[Row]:
    return [
        row({"variant": f"x/{name}", "seed": str(k)}, test__bpc=value, test_reset__bpc=value + 0.1,
            val__loss=value * log(2), test__loss=value * log(2), train__seconds=3.0)
        for name, values in bits.items()
        for k, value in enumerate(values)
    ]  # fmt: skip


def test_where_training_diverges_is_measured_and_how_soon() -> None:
    found = clipping.measures(clipped())
    assert found["off_high/diverged"] == found["loose_high/diverged"] == 1
    assert found["off_low/diverged"] == found["tight_high/diverged"] == 0
    assert found["off_high/step"] == 30, "the first point, where every network is still bad, does not count"
    assert found["tight_low/cost"] == pytest.approx(0.01)
    assert found["tight/gain_20"] == found["tight/gain_100"] == pytest.approx(0.3)


def test_a_job_that_failed_or_ends_in_no_number_has_diverged() -> None:
    guess = clipping.uniform(clipped())
    assert guess == pytest.approx(UNIFORM * log(2))
    assert clipping.diverged(row({}, "FAILED", val__loss=2.0), guess)
    assert clipping.diverged(row({}, val__loss=float("nan")), guess)
    assert not clipping.diverged(row({}, val__loss=3.2), guess)


def test_arms_have_their_means_in_both_contexts() -> None:
    found = state.measures(arms(reset=(2.2, 2.4), streams=(2.1, 2.1)))
    assert found["reset/test"] == pytest.approx(2.3)
    assert found["reset/test_reset"] == pytest.approx(2.4)
    assert found["streams/val"] == pytest.approx(2.1)
    assert found["streams/deviation"] == 0
    assert cells.measures(arms(rnn=(2.0, 2.2)))["rnn/deviation"] == pytest.approx(0.1414, rel=1e-3)


def test_the_best_window_of_each_cell_is_found() -> None:
    bits = {"5": 2.6, "20": 2.2, "100": 2.3}
    rows = [row({"model": "gru", "seq_len": length}, test__bpc=b) for length, b in bits.items()]
    found = context.measures(rows)
    assert found["gru/best"] == 20
    assert found["gru/gain"] == pytest.approx(0.4)


def probed(model: str, length: int, fall: float, **swept: str) -> Row:
    """A job whose gradient falls by a factor with each character."""
    curve = [(k, 3 * fall**k) for k in range(length)]
    return replace(row({"model": model, "seq_len": str(length), **swept}, test__bpc=2.0), gradient=curve)


def test_how_far_the_gradient_reaches_is_drawn_for_the_longest_window_of_each_cell() -> None:
    rows = [probed("rnn", 5, 0.9), probed("rnn", 20, 0.5, seed="1"), probed("rnn", 20, 0.125, seed="2"),
            probed("lstm", 20, 0.9), probed("lstm", 5, 0.1)]  # fmt: skip
    panels = context.figure(rows).axes
    assert len(panels) == 2
    reach = panels[1]
    assert reach.get_yscale() == "log"
    assert "distance" in reach.get_xlabel()
    assert "windows of 20" in reach.get_xlabel()
    assert "k = 0" in reach.get_ylabel()
    drawn = {line.get_label(): line for line in reach.get_lines()}
    assert list(drawn) == ["rnn", "lstm"]
    for name, fall in (("rnn", 0.25), ("lstm", 0.9)):  # of the seeds the geometric mean
        assert np.asarray(drawn[name].get_xdata()).tolist() == list(range(20))
        assert np.asarray(drawn[name].get_ydata()).tolist() == pytest.approx([fall**k for k in range(20)])
    assert len({(line.get_linestyle(), line.get_marker()) for line in drawn.values()}) == 2
    assert {line.get_color() for line in drawn.values()} == {"k"}, "told apart without colour"


def test_what_was_not_probed_or_has_vanished_is_not_drawn() -> None:
    assert len(context.figure([row({"model": "gru", "seq_len": "5"}, test__bpc=2.0)]).axes) == 1
    vanished = replace(probed("gru", 4, 0.5), gradient=[(0, 3.0), (1, 1.5), (2, 0.0), (3, 0.0)])
    assert context.reach([vanished, replace(vanished, gradient=[])]) == [(0, 1.0), (1, 0.5)]
    assert context.reach([replace(vanished, status="FAILED")]) == []


def test_the_gradient_of_the_kept_weights_is_read() -> None:
    told = json.dumps(
        {
            "distances": [0, 1, 2],
            "steps": [
                {"step": step, "norms": [[[9, 9, 9]], [[scale, scale / 2, None]]]}
                for step, scale in ((0, 1.0), (10, 4.0), (20, 8.0))
            ],
        }
    )
    val = [(10, 2.5), (20, 2.1), (30, 2.3), (31, 2.1)]  # the last one repeats that of the kept weights
    assert kept_gradient(told, val) == [(0, 8.0), (1, 4.0)], "of the top layer, what is a number"
    assert kept_gradient(told, [(5, 1.0)]) == []
    assert kept_gradient(told, []) == []


def test_the_tracker_has_the_gradient_of_a_job_of_another_machine(tmp_path: Path) -> None:
    from src.lab.tracking import sweep_store

    told = {"distances": [0, 1], "steps": [{"step": 10, "norms": [[[4.0, 2.0]]]}]}
    (tmp_path / GRADIENTS).write_text(json.dumps(told))
    info = SimpleNamespace(status="FINISHED", artifact_uri=tmp_path.as_uri())
    run = SimpleNamespace(info=info, data=SimpleNamespace(params={"probe": "True"}))
    assert sweep_store.gradient_of(run, [(11, 2.0), (10, 2.0)]) == [(0, 4.0), (1, 2.0)]
    (tmp_path / GRADIENTS).unlink()
    assert sweep_store.gradient_of(run, [(10, 2.0)]) == []


def test_the_papers_loss_stands_beside_ours() -> None:
    found = karpathy2015.measures(arms(lstm_64=(2.0, 2.0)))
    assert found["lstm_64/loss"] == pytest.approx(2 * log(2))
    assert found["lstm_64/over_paper"] == pytest.approx(2 * log(2) - 1.449)


def judged() -> list[Row]:
    samples = [
        {"temperature": t, "prompt": "o ", "text": "love", "seed": 1, "known_words": known, "distinct_2": 1.0,
         "repetition": None if t == 2 else 0.5, "copied": 10}
        for t, known in ((0.1, 0.9), (2.0, 0.2))
    ]  # fmt: skip
    return [Row("seed=1", 0, {"seed": "1"}, "id", "FINISHED", samples=samples)]


def test_samples_are_compared_by_temperature() -> None:
    found = temperature.measures(judged())
    assert (found["known_words@0.1"], found["known_words@2"], found["copied@2"]) == (0.9, 0.2, 10)
    assert "repetition@2" not in found, "a text too short for it"


def test_tiny_shakespeare_is_held_against_the_recipe() -> None:
    rows = [row({}, val_final__loss=1.5, train__seconds=132.0)]
    assert tinyshakespeare.measures(rows)["below_recipe"] == pytest.approx(0.374)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("clipping", clipped()),
        ("state", arms(reset=(2.2, 2.4), shuffled=(2.3, 2.4), streams=(2.1, 2.2))),
        ("temperature", judged()),
        ("context", [row({"model": "gru", "seq_len": t}, test__bpc=2.0) for t in ("5", "20")]),
        ("cells", arms(rnn=(2.0, 2.2), gru=(1.9, 2.0))),
        ("karpathy2015", arms(lstm_64=(2.0, 2.1), rnn_64=(2.1, 2.2))),
        ("tinyshakespeare", [row({}, val_final__loss=1.5, train__seconds=132.0)]),
    ],
)  # fmt: skip
def test_every_experiment_is_drawn_the_same_twice_with_labelled_axes(
    name: str, rows: list[Row], tmp_path: Path
) -> None:
    experiment = EXPERIMENTS[name]
    for k in ("first", "second"):
        figure = experiment.figure(rows)
        labelled = [ax for ax in figure.axes if ax.get_xlabel() and ax.has_data()]
        assert labelled, "an axis without a label"
        recording.save(figure, tmp_path / k, name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_command_is_what_a_person_would_type_and_goes_on_where_it_was_interrupted() -> None:
    line = command(EXPERIMENTS["state"], "quick", ["outputs=x"], None)
    assert line[:2] == ["--multirun", "experiment=state_quick"]
    assert {"skip_finished=true", "hydra/launcher=joblib", "outputs=x"} <= set(line)
    full = command(EXPERIMENTS["karpathy2015"], "full", [], "book.txt")
    assert {"experiment=karpathy2015", "data.path=book.txt"} <= set(full)
    assert "hydra/launcher=joblib" not in command(EXPERIMENTS["tinyshakespeare"], "full", [], None)


def test_an_experiment_without_its_text_is_left_out_and_says_what_to_type(tmp_path: Path) -> None:
    outcome = run(EXPERIMENTS["karpathy2015"], "full", [], tmp_path, {})
    assert outcome.missing == "it needs your copy of the text: warandpeace=FILE"
    assert "not run" in section(outcome).note


def test_every_experiment_has_its_folder_its_configs_and_claims() -> None:
    assert set(NAMES) == set(EXPERIMENTS)
    assert set(QUICK) <= set(NAMES)
    for name, experiment in EXPERIMENTS.items():
        readme = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        assert readme.startswith(f"# {name}: ")
        assert f"experiment={name}" in readme or name == "tinyshakespeare"
        for size in ("quick", "full"):
            assert (PROJECT / "conf" / "experiment" / f"{experiment.config(size)}.yaml").exists()
        assert read_claims(FOLDER / name / "expected.json", "full"), name


def test_claims_of_another_size_are_not_asked_for(tmp_path: Path) -> None:
    claims = [
        {"claim": "a", "measure": "x", "source": "s", "most": 1},
        {"claim": "b", "measure": "x - y", "source": "s", "least": 1, "size": "full"},
    ]
    (tmp_path / "expected.json").write_text(json.dumps({"claims": claims}))
    assert [c.claim for c in read_claims(tmp_path / "expected.json", "quick")] == ["a"]
    found = verdicts(read_claims(tmp_path / "expected.json", "full"), {"x": 2.0, "y": 0.5})
    assert [(v.held, v.value, v.word) for v in found] == [
        (False, 2.0, "NOT reproduced"),
        (True, 1.5, "reproduced"),
    ]


@pytest.mark.parametrize("value", [inf, float("nan")])
def test_no_claim_holds_of_what_is_no_number(value: float) -> None:
    assert not Claim("c", "x", "s", least=0).holds({"x": value})


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [*clipped(), *judged(), probed("gru", 5, 0.5)]
    write_rows(tmp_path / "jobs.json", rows)
    assert read_rows(tmp_path / "jobs.json") == rows


def test_what_came_out_is_recorded_and_shown_on_one_page(tmp_path: Path) -> None:
    outcome = conclude(EXPERIMENTS["clipping"], "quick", clipped(), seconds=12.0)
    assert [v.held for v in outcome.verdicts].count(False) == 0
    record(outcome, tmp_path)
    told = json.loads((tmp_path / "clipping.json").read_text())
    assert told["measures"]["off_high/diverged"] == 1
    assert (tmp_path / "clipping.svg").read_text().startswith("<?xml")
    bad = Outcome(EXPERIMENTS["state"], "quick", missing="the sweep <ended> with status 2")
    html = page([section(outcome), section(bad)], {"cores": 2})
    assert html.count("<svg") == 1
    assert f"{len(outcome.verdicts)} of {len(outcome.verdicts)} claims reproduced" in html
    assert "&lt;ended&gt;" in html
    assert "http" not in html.replace("http://www.w3.org", ""), "it asks nobody for anything"


def row_of_the_table(size: str, loss: float, folder: Path) -> Outcome:
    """What `python -m src.reproduce only=[karpathy2015_SIZE]` comes to where three jobs end with a loss."""
    jobs = arms(**{f"{cell}_{size}": (loss / log(2),) for cell in ("rnn", "gru", "lstm")})
    earlier = measured_before(folder, "karpathy2015", "full")
    outcome = conclude(named(f"karpathy2015_{size}"), "full", jobs, seconds=60.0, earlier=earlier)
    record(outcome, folder)
    return outcome


def words(outcome: Outcome) -> dict[str, list[str]]:
    """What became of the claims, by the size of which they speak."""
    found: dict[str, list[str]] = {}
    for verdict in outcome.verdicts:
        found.setdefault(verdict.claim.split("size ")[1].split(":")[0], []).append(verdict.word)
    return found


def test_a_part_of_an_experiment_is_recorded_and_the_others_come_on_top(tmp_path: Path) -> None:
    first = row_of_the_table("64", 1.43, tmp_path)
    assert words(first) == {"64": ["reproduced"] * 3, "128": ["not run"] * 3, "256": ["not run"] * 3}
    assert (tally(first.verdicts), all_held(first.verdicts)) == ("3 of 3 claims reproduced, 6 not run", True)
    assert first.verdicts[3].line() == f"not run         {first.verdicts[3].claim}"
    second = row_of_the_table("256", 9.0, tmp_path)
    assert words(second) == {"64": ["reproduced"] * 3, "128": ["not run"] * 3, "256": ["NOT reproduced"] * 3}
    assert not all_held(second.verdicts)
    told = json.loads((tmp_path / "karpathy2015.json").read_text())
    assert (told["jobs"], told["seconds"], list(told["parts"])) == (6, 120.0, ["64", "256"])
    assert told["parts"]["64"]["command"].endswith("experiment=karpathy2015_64")
    assert {c["held"] for c in told["claims"]} == {True, False, None}
    assert [c["value"] for c in told["claims"] if c["held"] is None] == [None] * 3
    drawn = (tmp_path / "karpathy2015.svg").read_text()
    assert "rnn, measured" in drawn
    assert "the paper (from memory)" in drawn
    html = page([section(second)], {})
    assert "3 of 6 claims reproduced, 3 not run" in html
    assert html.count(">not run</td>") == 3
    assert "nan" not in html


def test_what_is_recorded_in_experiments_keeps_the_rows_that_were_run_elsewhere(tmp_path: Path) -> None:
    kept = tmp_path / "experiments"
    for size, loss in (("64", 1.43), ("128", 1.3)):
        folder = tmp_path / size  # outputs of their own: neither knows of the other
        row_of_the_table(size, loss, folder)
        keep(folder, kept)
    told = json.loads((kept / "karpathy2015" / "measured.json").read_text())
    assert list(told["parts"]) == ["64", "128"]
    assert told["measures"]["gru_64/loss"] == pytest.approx(1.43)
    assert told["measures"]["gru_128/loss"] == pytest.approx(1.3)
    assert [c["held"] for c in told["claims"][-3:]] == [None] * 3
    assert all("quoted from memory" in c["claim"] for c in told["claims"])
    assert (kept / "karpathy2015" / "figure.svg").exists()
    whole = conclude(EXPERIMENTS["state"], "quick", arms(reset=(2.2,), shuffled=(2.3,), streams=(2.1,)))
    record(whole, tmp_path / "whole")
    keep(tmp_path / "whole", kept)
    assert (kept / "state" / "measured.json").read_text() == (tmp_path / "whole" / "state.json").read_text()
    assert (kept / "state" / "figure.svg").read_text() == (tmp_path / "whole" / "state.svg").read_text()


def test_a_quick_record_does_not_take_the_place_of_a_full_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    for size, loss in (("full", 2.1), ("quick", 2.0), ("full", 1.9)):
        jobs = arms(reset=(2.2,), shuffled=(2.3,), streams=(loss,))
        record(conclude(EXPERIMENTS["state"], size, jobs), tmp_path / "outcomes")
        before = (kept / "state" / "measured.json").read_text() if size == "quick" else ""
        keep(tmp_path / "outcomes", kept)
        told = (kept / "state" / "measured.json").read_text()
        assert json.loads(told)["size"] == "full"
        assert before in ("", told)
        assert ("state: what was measured at full size stays" in capsys.readouterr().err) == bool(before)


def test_all_of_an_experiment_replaces_its_parts_and_lacks_nothing(tmp_path: Path) -> None:
    row_of_the_table("64", 1.43, tmp_path)
    jobs = arms(**{f"{cell}_{s}": (1.9,) for cell in ("rnn", "gru", "lstm") for s in (64, 128, 256)})
    record(conclude(EXPERIMENTS["karpathy2015"], "full", jobs), tmp_path)
    told = json.loads((tmp_path / "karpathy2015.json").read_text())
    assert "parts" not in told
    assert told["measures"]["rnn_64/loss"] == pytest.approx(1.9 * log(2))
    with pytest.raises(InputError, match="expected the metric 'rnn_128/over_paper'"):
        conclude(EXPERIMENTS["karpathy2015"], "full", arms(rnn_64=(1.9,), gru_64=(1.9,), lstm_64=(1.9,)))
    row_of_the_table("128", 1.3, tmp_path)
    told = json.loads((tmp_path / "karpathy2015.json").read_text())
    assert list(told["parts"]) == ["all", "128"]
    assert told["measures"]["rnn_256/loss"] == pytest.approx(1.9 * log(2))


def test_every_part_has_its_config_and_claims() -> None:
    for name in PARTS:
        part = named(name)
        assert part.asked == part.config("quick") == part.config("full") == name
        text = (PROJECT / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        variants = text.rpartition("variant: ")[2].strip().split(",")
        assert [v.rpartition("_")[2] for v in variants] == [part.part] * 3
        asked = [c for c in read_claims(FOLDER / part.name / "expected.json", "full") if c.measure]
        assert sum(f"_{part.part}/" in claim.measure for claim in asked) == 3


def test_the_readmes_table_is_what_the_experiments_measured() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert results.written(readme) == readme, "out of date: make results"
    assert results.written(readme.replace("reproduced |", "bent |")) == readme
    with pytest.raises(ValueError, match="expected <!-- results -->"):
        results.written("no table")


@pytest.mark.slow
def test_a_small_one_runs_from_the_sweep_to_the_page(tmp_path: Path, capfd: Any) -> None:
    places = [f"outputs={tmp_path}", f"data_dir={tmp_path / 'data'}", "tracking=none"]
    small = ["hidden=8", "max_epochs=0.02", "length=600", "seed=1"]
    outcome = run(EXPERIMENTS["temperature"], "quick", [*places, *small], tmp_path, {})
    assert not outcome.missing, capfd.readouterr().err
    assert [r.status for r in outcome.rows] == ["FINISHED"]
    assert outcome.measures["known_words@0.1"] >= 0
    assert [k for k, _ in outcome.rows[0].gradient] == list(range(20)), "of the weights that were kept"
    assert not all(v.held for v in outcome.verdicts), "eight units and some steps know no words"
    assert "NOT reproduced" in page([section(outcome)], {})
