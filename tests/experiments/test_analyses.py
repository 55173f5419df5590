"""Measures and figures of the experiments."""

import json
import re
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.common.job_result import GRADIENTS, GradientFile, JobResult, best_gradient_norms
from src.experiments import cell_analyses as cells
from src.experiments import results
from src.experiments import training_analyses as training
from src.experiments.runner import EXPERIMENTS
from src.tracking.sweep import Job, Sweep
from tests.conftest import ignore_mlflow_warnings
from tests.fake_jobs import UNIFORM, clipping_sweep, job_result, variants, with_gradient, with_samples
from tests.figure_checks import clipped_texts


def test_clipping_measures_divergence() -> None:
    measures = training.measure_clipping(clipping_sweep())
    assert measures["off_high/diverged"] == measures["loose_high/diverged"] == 1
    assert measures["off_low/diverged"] == measures["tight_high/diverged"] == 0
    assert measures["off_high/step"] == 30, "the first point is ignored"
    assert measures["tight_low/cost"] == pytest.approx(0.01)
    assert measures["tight/gain_20"] == measures["tight/gain_100"] == pytest.approx(0.3)
    uniform_loss = training.uniform(clipping_sweep())
    assert uniform_loss == pytest.approx(UNIFORM * log(2))
    assert training.diverged(job_result({}, "FAILED", val__loss=2.0), uniform_loss)
    assert training.diverged(job_result({}, val__loss=float("nan")), uniform_loss)
    assert not training.diverged(job_result({}, val__loss=3.2), uniform_loss)


def test_variant_means_in_both_contexts() -> None:
    measures = cells.measure_state(variants(reset=(2.2, 2.4), streams=(2.1, 2.1)))
    names = ("reset/test", "reset/test_stateless", "streams/val", "streams/deviation")
    assert [measures[name] for name in names] == pytest.approx([2.3, 2.4, 2.1, 0])
    assert cells.measure_cells(variants(rnn=(2.0, 2.2)))["rnn/deviation"] == pytest.approx(0.1414, rel=1e-3)


def test_best_window_of_each_cell() -> None:
    bits = {"5": 2.6, "20": 2.2, "100": 2.3}
    rows = [job_result({"model": "gru", "seq_len": length}, test__bpc=b) for length, b in bits.items()]
    measures = cells.measure_context(rows)
    assert [measures["gru/best"], measures["gru/gain"]] == pytest.approx([20, 0.4])


def test_gradient_reach_figure() -> None:
    rows = [
        with_gradient("rnn", 5, 0.9),
        with_gradient("rnn", 20, 0.5, seed="1"),
        with_gradient("rnn", 20, 0.125, seed="2"),
        with_gradient("lstm", 20, 0.9),
        with_gradient("lstm", 5, 0.1),
    ]
    _, reach = cells.plot_context(rows, {}).axes
    assert reach.get_yscale() == "log"
    assert re.search("distance.*windows of 20", reach.get_xlabel(), re.DOTALL)
    assert "k = 0" in reach.get_ylabel()
    drawn = {line.get_label(): line for line in reach.get_lines()}
    assert list(drawn) == ["rnn", "lstm"]
    for name, decay in (("rnn", 0.25), ("lstm", 0.9)):  # geometric mean over seeds
        assert np.asarray(drawn[name].get_xdata()).tolist() == list(range(20))
        assert np.asarray(drawn[name].get_ydata()).tolist() == pytest.approx([decay**k for k in range(20)])
    assert len({(line.get_linestyle(), line.get_marker()) for line in drawn.values()}) == 2
    assert {line.get_color() for line in drawn.values()} == {"k"}, "lines are distinguishable without color"


def test_vanished_gradient_is_not_drawn() -> None:
    without = job_result({"model": "gru", "seq_len": "5"}, test__bpc=2.0)
    assert len(cells.plot_context([without], {}).axes) == 1
    vanished = replace(with_gradient("gru", 4, 0.5), gradient=[(0, 3.0), (1, 1.5), (2, 0.0), (3, 0.0)])
    assert cells.gradient_reach([vanished, replace(vanished, gradient=[])]) == [(0, 1.0), (1, 0.5)]
    assert cells.gradient_reach([replace(vanished, status="FAILED")]) == []


def test_gradient_norms_of_best_weights() -> None:
    file: GradientFile = {
        "about": "",
        "distances": [0, 1, 2],
        "initial_singular_values": [[1.0]],
        "steps": [
            {"step": step, "norms": [[[9, 9, 9]], [[scale, scale / 2, None]]]}
            for step, scale in ((0, 1.0), (10, 4.0), (20, 8.0))
        ],
    }
    val = [(10, 2.5), (20, 2.1), (30, 2.3), (31, 2.1)]  # the last point repeats the best weights
    assert best_gradient_norms(file, val) == [(0, 8.0), (1, 4.0)], "finite norms of the top layer"
    assert best_gradient_norms(file, [(5, 1.0)]) == []
    assert best_gradient_norms(file, []) == []


@pytest.mark.slow
@ignore_mlflow_warnings
def test_gradient_is_read_from_mlflow(client: Any, trained: Any, tmp_path: Path) -> None:
    from src.tracking.mlflow_store import MlflowStore

    steps = [{"step": 10, "norms": [[[4.0, 2.0]]]}]
    content = {"about": "", "distances": [0, 1], "initial_singular_values": [], "steps": steps}
    experiment = client.create_experiment(tmp_path.name, artifact_location=tmp_path.as_uri())
    for number in range(2):
        tags = Job(Sweep("s", "name", []), number, {}).tags()
        run_id = client.create_run(experiment, tags=tags).info.run_id
        client.log_param(run_id, "diagnostics", "True")
        for step, loss in ((11, 2.0), (10, 2.0)):
            client.log_metric(run_id, "val/loss", loss, step=step)
        if number == 0:
            client.log_text(run_id, json.dumps(content), GRADIENTS)
        client.set_terminated(run_id)
    first, second = MlflowStore(trained.uri, tmp_path.name, tmp_path).job_results("s")
    assert (first.gradient, second.gradient) == ([(0, 4.0), (1, 2.0)], [])
    assert first.curves == {"val/loss": [(10, 2.0), (11, 2.0)]}


def test_difference_from_published_loss() -> None:
    measures = cells.measure_karpathy2015(variants(lstm_64=(2.0, 2.0)))
    assert measures["lstm_64/loss"] == pytest.approx(2 * log(2))
    assert measures["lstm_64/over_paper"] == pytest.approx(2 * log(2) - 1.449)
    rows = [job_result({}, final_val__loss=1.5, train__seconds=132.0)]
    assert training.measure_tinyshakespeare(rows)["below_recipe"] == pytest.approx(0.374)


def test_sample_measures_by_temperature() -> None:
    measures = training.measure_temperature(with_samples())
    names = ("known_words@0.1", "known_words@2", "longest_match@2")
    assert [measures[name] for name in names] == [0.9, 0.2, 10]
    assert "repetition@2" not in measures, "the text is too short"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("clipping", clipping_sweep()),
        ("state", variants(reset=(2.2, 2.4), shuffled=(2.3, 2.4), streams=(2.1, 2.2))),
        ("temperature", with_samples()),
        ("context", [job_result({"model": "gru", "seq_len": t}, test__bpc=2.0) for t in ("5", "20")]),
        ("cells", variants(rnn=(2.0, 2.2), gru=(1.9, 2.0))),
        ("karpathy2015", variants(lstm_64=(2.0, 2.1), rnn_64=(2.1, 2.2), gru_64=(2.0, 2.0))),
        ("sonnets", [job_result({}, test__bpc=2.4)]),
        ("tinyshakespeare", [job_result({}, final_val__loss=1.5, train__seconds=132.0)]),
    ],
)
def test_figures_are_labeled_and_deterministic(name: str, rows: list[JobResult], tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    for k in ("first", "second"):
        figure = experiment.plot(rows, experiment.measure(rows))
        results.save_figure(figure, tmp_path / k, name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    drawn = [ax for ax in figure.axes if ax.has_data()]
    assert all(ax.get_xlabel() or ax.get_ylabel() for ax in drawn), "an axis has no label"
    assert drawn[0].get_ylabel()
    assert figure.get_suptitle() or drawn[0].get_title()
    assert not clipped_texts(figure)
