"""Diagnostics of a run: metrics and figures."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest

from src.common.job_result import GradientFile
from src.diagnostics.gradient_flow import DiagnosticsCallback, select_distances
from src.plots.diagnostics import gradient_through_time, select_layers, select_steps, singular_values
from src.rnn.parameters import RNNConfig, initialize
from tests.conftest import ignore_mlflow_warnings
from tests.rounding import gamma, radius_error
from tests.small_training import BASE, CORPUS, Recorder

ARCHITECTURE = RNNConfig(len(CORPUS.vocabulary), BASE.hidden)

FILES = ("gradient_through_time.json", "neurons.html")


def load_gradient_file(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@ignore_mlflow_warnings
def test_diagnostics_are_logged_to_mlflow(trained: Any, client: Any) -> None:
    last = trained.curve("train/loss")[-1][0]
    measured_steps = [0, *range(200, last + 1, 200)]
    for name in ("spectral_radius", "saturation", "grad_norm_first_over_last"):
        points = client.get_metric_history(trained.run_id, f"diagnostics/{name}")
        assert sorted(point.step for point in points) == [*measured_steps, last + 1], name
        assert all(np.isfinite(point.value) for point in points)
    for name in ("", "_wx", "_wh", "_wy"):
        points = client.get_metric_history(trained.run_id, f"diagnostics/update_ratio{name}")
        assert sorted(point.step for point in points) == list(range(100, last + 1, 100)), name
        assert all(0 < point.value < 0.2 for point in points)
    assert {file.path for file in client.list_artifacts(trained.run_id)} >= set(FILES)
    figures = {Path(file.path).name for file in client.list_artifacts(trained.run_id, "figures")}
    assert figures >= {"gradient_through_time.png", "singular_values.png"}
    record, losses = load_gradient_file(trained.folder), trained.curve("val/loss")
    assert record["distances"] == list(range(20))
    (best_step,) = [step for step, value, _ in losses[:-1] if value == losses[-1][1]]
    assert [row["step"] for row in record["steps"]] == sorted({*measured_steps, best_step})
    norms = np.array([row["norms"] for row in record["steps"]])
    assert norms.shape == (len(record["steps"]), 1, 1, 20)
    ratio = {step: value for step, value, _ in trained.curve("diagnostics/grad_norm_first_over_last")}
    for step, k in ((0, 0), (last + 1, -1)):
        assert ratio[step] == pytest.approx(norms[k, 0, 0, -1] / norms[k, 0, 0, 0], rel=1.1e-5)  # six digits
    assert 0.3 < ratio[0] <= 1, "the initial matrix is orthogonal"
    assert ratio[last + 1] < 0.1 * ratio[0], "the trained network forgets"
    radii = {step: value for step, value, _ in trained.curve("diagnostics/spectral_radius")}
    assert radii[0] == pytest.approx(1, rel=radius_error(32))


def fake_trainer(step: int, params: Any) -> Any:
    """A trainer with the attributes that the callback reads; measured every 200 steps."""
    config = attrs.evolve(BASE, batch_size=64)
    return SimpleNamespace(
        config=config, architecture=ARCHITECTURE, corpus=CORPUS, step=step, params=params, eval_params=params
    )


def test_resumed_run_continues_diagnostics(tmp_path: Path) -> None:
    first, initial = Recorder(), initialize(ARCHITECTURE, "orthogonal", np.random.default_rng(1))
    params = np.full(ARCHITECTURE.size(), 0.1, np.float32)
    diagnostics = DiagnosticsCallback(first, tmp_path)
    diagnostics.on_train_start(fake_trainer(0, initial))
    initial_metrics = first.metrics[-1][1]
    assert initial_metrics["diagnostics/spectral_radius"] == pytest.approx(1, rel=radius_error(BASE.hidden))
    diagnostics.on_validation_end(fake_trainer(100, params), 1.0)
    assert len(first.metrics) == 1, "too soon after the last measurement"
    diagnostics.on_validation_end(fake_trainer(200, params), 1.0)
    full_record = load_gradient_file(tmp_path)
    assert [row["step"] for row in full_record["steps"]] == [0, 200]
    # orthogonal: rounding to float32, decomposition, and six digits in the file
    bound = gamma(2 * BASE.hidden) + 5e-6
    assert full_record["initial_singular_values"] == [pytest.approx([1.0] * BASE.hidden, rel=bound)]
    again = Recorder()
    resumed = DiagnosticsCallback(again, tmp_path)
    resumed.on_train_start(fake_trainer(100, params))
    assert again.metrics == [], "the initial weights are not measured again"
    resumed.on_validation_end(fake_trainer(200, params), 1.0)
    assert again.metrics == [(200, first.metrics[-1][1])]
    assert load_gradient_file(tmp_path) == full_record
    resumed.on_validation_end(fake_trainer(400, params), 1.0)
    assert [row["step"] for row in load_gradient_file(tmp_path)["steps"]] == [0, 200, 400]
    resumed.on_train_end(fake_trainer(400, params), SimpleNamespace(params=params, best_step=300, steps=400))
    assert again.metrics[-1][0] == 401
    assert [row["step"] for row in load_gradient_file(tmp_path)["steps"]] == [0, 200, 300, 400]


def test_nan_norm_is_null_in_file(tmp_path: Path) -> None:
    diagnostics = DiagnosticsCallback(Recorder(), tmp_path)
    params = np.full(ARCHITECTURE.size(), np.nan, np.float32)
    with np.errstate(all="ignore"):
        diagnostics.on_train_start(fake_trainer(200, params))
        diagnostics.on_validation_end(fake_trainer(200, params), 1.0)
    assert load_gradient_file(tmp_path)["steps"][0]["norms"] == [[[None] * BASE.seq_len]]


@pytest.mark.parametrize("steps", [1, 100, 101, 5000])
def test_distances_are_limited(steps: int) -> None:
    distances = select_distances(steps)
    assert (distances[0], distances[-1]) == (0, steps - 1)
    assert distances == sorted(set(distances))
    assert len(distances) == steps if steps <= 100 else 50 < len(distances) <= 100


def gradient_file(steps: list[int], layers: int, states: int) -> GradientFile:
    norms = [[[0.5**k if k < 2 else None for k in range(4)]] * states] * layers
    return {
        "about": "",
        "distances": [0, 1, 2, 3],
        "initial_singular_values": [],
        "steps": [{"step": step, "norms": norms} for step in steps],
    }


@pytest.mark.parametrize(("layers", "states", "panels"), [(1, 1, 1), (3, 2, 6), (9, 1, 4)])
def test_gradient_figure_panels_and_labels(layers: int, states: int, panels: int) -> None:
    figure = gradient_through_time(gradient_file([0, 250, 500], layers, states), 500)
    assert len(figure.axes) == panels
    assert "distance k to the loss [characters]" in [ax.get_xlabel() for ax in figure.axes]
    assert "[nats]" in figure.axes[0].get_ylabel()
    lines = figure.axes[0].get_lines()
    labels = ["step 0 (before training)", "step 250", "step 500 (best weights)"]
    assert [line.get_label() for line in lines] == labels
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 3
    assert [np.asarray(line.get_ydata()).tolist() for line in lines] == [[1.0, 0.5]] * 3
    drawn = singular_values([np.ones(8)] * layers, [np.linspace(2, 0, 8)] * layers, gated=states == 2)
    assert len(drawn.axes) == min(layers, 4)
    assert ("candidate" in drawn.axes[0].get_ylabel()) == (states == 2)


def test_selected_steps_and_layers() -> None:
    assert select_steps([0, *range(250, 6001, 250)], 6000) == [0, 250, 1000, 2500, 6000]
    assert select_steps([0, 250, 500, 750], 500) == [0, 250, 500]
    assert select_steps([0], 0) == [0]
    assert select_layers(3, 4) == [0, 1, 2]
    assert select_layers(10, 4) == [0, 3, 6, 9]
