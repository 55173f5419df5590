"""What an experiment measures of the jobs of its sweep, and draws of them."""

import json
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest

from src.common.job_result import GRADIENTS, GradientFile, JobResult, best_gradient_norms
from src.experiments import cell_analyses as cells
from src.experiments import results
from src.experiments import training_analyses as training
from src.experiments.runner import EXPERIMENTS
from tests.fake_jobs import UNIFORM, arms, clipped, judged, probed, row
from tests.figure_checks import cut_off


def test_where_training_diverges_is_measured_and_how_soon() -> None:
    found = training.measure_clipping(clipped())
    assert found["off_high/diverged"] == found["loose_high/diverged"] == 1
    assert found["off_low/diverged"] == found["tight_high/diverged"] == 0
    assert found["off_high/step"] == 30, "the first point, where every network is still bad, does not count"
    assert found["tight_low/cost"] == pytest.approx(0.01)
    assert found["tight/gain_20"] == found["tight/gain_100"] == pytest.approx(0.3)


def test_a_job_that_failed_or_ends_in_no_number_has_diverged() -> None:
    guess = training.uniform(clipped())
    assert guess == pytest.approx(UNIFORM * log(2))
    assert training.diverged(row({}, "FAILED", val__loss=2.0), guess)
    assert training.diverged(row({}, val__loss=float("nan")), guess)
    assert not training.diverged(row({}, val__loss=3.2), guess)


def test_arms_have_their_means_in_both_contexts() -> None:
    found = cells.measure_state(arms(reset=(2.2, 2.4), streams=(2.1, 2.1)))
    assert found["reset/test"] == pytest.approx(2.3)
    assert found["reset/test_stateless"] == pytest.approx(2.4)
    assert found["streams/val"] == pytest.approx(2.1)
    assert found["streams/deviation"] == 0
    assert cells.measure_cells(arms(rnn=(2.0, 2.2)))["rnn/deviation"] == pytest.approx(0.1414, rel=1e-3)


def test_the_best_window_of_each_cell_is_found() -> None:
    bits = {"5": 2.6, "20": 2.2, "100": 2.3}
    rows = [row({"model": "gru", "seq_len": length}, test__bpc=b) for length, b in bits.items()]
    found = cells.measure_context(rows)
    assert found["gru/best"] == 20
    assert found["gru/gain"] == pytest.approx(0.4)


def test_how_far_the_gradient_reaches_is_drawn_for_the_longest_window_of_each_cell() -> None:
    rows = [probed("rnn", 5, 0.9), probed("rnn", 20, 0.5, seed="1"), probed("rnn", 20, 0.125, seed="2"),
            probed("lstm", 20, 0.9), probed("lstm", 5, 0.1)]  # fmt: skip
    panels = cells.plot_context(rows, {}).axes
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
    assert {line.get_color() for line in drawn.values()} == {"k"}, "lines differ without color"


def test_what_was_not_probed_or_has_vanished_is_not_drawn() -> None:
    assert len(cells.plot_context([row({"model": "gru", "seq_len": "5"}, test__bpc=2.0)], {}).axes) == 1
    vanished = replace(probed("gru", 4, 0.5), gradient=[(0, 3.0), (1, 1.5), (2, 0.0), (3, 0.0)])
    assert cells.gradient_reach([vanished, replace(vanished, gradient=[])]) == [(0, 1.0), (1, 0.5)]
    assert cells.gradient_reach([replace(vanished, status="FAILED")]) == []


def test_the_gradient_of_the_kept_weights_is_read() -> None:
    file: GradientFile = {
        "about": "",
        "distances": [0, 1, 2],
        "initial_singular_values": [[1.0]],
        "steps": [
            {"step": step, "norms": [[[9, 9, 9]], [[scale, scale / 2, None]]]}
            for step, scale in ((0, 1.0), (10, 4.0), (20, 8.0))
        ],
    }
    val = [(10, 2.5), (20, 2.1), (30, 2.3), (31, 2.1)]  # the last one repeats that of the kept weights
    assert best_gradient_norms(file, val) == [(0, 8.0), (1, 4.0)], "of the top layer, what is a number"
    assert best_gradient_norms(file, [(5, 1.0)]) == []
    assert best_gradient_norms(file, []) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
def test_the_tracker_has_the_gradient_of_a_job_of_another_machine(tmp_path: Path) -> None:
    from src.tracking.mlflow_client import connect, experiment_id
    from src.tracking.mlflow_store import MlflowStore

    steps = [{"step": 10, "norms": [[[4.0, 2.0]]]}]
    content = {"about": "", "distances": [0, 1], "initial_singular_values": [], "steps": steps}
    client = connect(uri := f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = experiment_id(client, "some", tmp_path.as_uri())
    for number in range(2):
        note = {"sweep": "s", "number": number, "name": f"seed={number}", "swept": {"seed": str(number)}}
        tags = {"sweep.s": json.dumps(note), "mlflow.parentRunId": "s"}
        run_id = client.create_run(experiment, tags=tags).info.run_id
        client.log_param(run_id, "diagnostics", "True")
        for step, loss in ((11, 2.0), (10, 2.0)):
            client.log_metric(run_id, "val/loss", loss, step=step)
        if number == 0:
            client.log_text(run_id, json.dumps(content), GRADIENTS)
        client.set_terminated(run_id)
    first, second = MlflowStore(uri, "some", tmp_path).job_results("s")
    assert first.gradient == [(0, 4.0), (1, 2.0)]
    assert second.gradient == []
    assert first.curves == {"val/loss": [(10, 2.0), (11, 2.0)]}


def test_the_papers_loss_stands_beside_ours() -> None:
    found = cells.measure_karpathy2015(arms(lstm_64=(2.0, 2.0)))
    assert found["lstm_64/loss"] == pytest.approx(2 * log(2))
    assert found["lstm_64/over_paper"] == pytest.approx(2 * log(2) - 1.449)


def test_samples_are_compared_by_temperature() -> None:
    found = training.measure_temperature(judged())
    assert (found["known_words@0.1"], found["known_words@2"], found["longest_match@2"]) == (0.9, 0.2, 10)
    assert "repetition@2" not in found, "a text too short for it"


def test_tiny_shakespeare_is_held_against_the_recipe() -> None:
    rows = [row({}, final_val__loss=1.5, train__seconds=132.0)]
    assert training.measure_tinyshakespeare(rows)["below_recipe"] == pytest.approx(0.374)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("clipping", clipped()),
        ("state", arms(reset=(2.2, 2.4), shuffled=(2.3, 2.4), streams=(2.1, 2.2))),
        ("temperature", judged()),
        ("context", [row({"model": "gru", "seq_len": t}, test__bpc=2.0) for t in ("5", "20")]),
        ("cells", arms(rnn=(2.0, 2.2), gru=(1.9, 2.0))),
        ("karpathy2015", arms(lstm_64=(2.0, 2.1), rnn_64=(2.1, 2.2), gru_64=(2.0, 2.0))),
        ("sonnets", [row({}, test__bpc=2.4)]),
        ("tinyshakespeare", [row({}, final_val__loss=1.5, train__seconds=132.0)]),
    ],
)  # fmt: skip
def test_every_experiment_is_drawn_the_same_twice_with_labeled_axes(
    name: str, rows: list[JobResult], tmp_path: Path
) -> None:
    experiment = EXPERIMENTS[name]
    for k in ("first", "second"):
        figure = experiment.plot(rows, experiment.measure(rows))
        drawn = [ax for ax in figure.axes if ax.has_data()]
        assert drawn
        # a color bar has its own label
        assert all(ax.get_xlabel() or ax.get_ylabel() for ax in drawn), "an axis without a label"
        assert drawn[0].get_ylabel()
        assert figure.get_suptitle() or drawn[0].get_title()
        assert not cut_off(figure)
        results.save_figure(figure, tmp_path / k, name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
