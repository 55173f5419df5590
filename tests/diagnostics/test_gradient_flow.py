"""Diagnostics during training: their values, their interval, and no effect on training."""

from typing import Any

import attrs
import numpy as np
import pytest

from src.diagnostics.gradient_flow import (
    WINDOWS,
    GradientFlow,
    GradientFlowMonitor,
    UpdateRatio,
    measure,
)
from src.rnn.cells import CELLS
from src.rnn.network import Buffers
from src.rnn.parameters import Array, RNNConfig, initialize, named_views, unflatten
from tests.rounding import DOUBLE, UNIT, gamma, radius_error
from tests.small_training import ADAM, BASE, CORPUS, Trained, model_config

KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)


def config_of(hidden: int, kind: tuple[str, str] = ("rnn", "tanh"), layers: int = 1) -> RNNConfig:
    return RNNConfig(len(CORPUS.vocabulary), hidden, kind[0], layers, kind[1])


def network(
    kind: tuple[str, str] = ("rnn", "tanh"), layers: int = 1, hidden: int = 8
) -> tuple[RNNConfig, Array]:
    architecture = config_of(hidden, kind, layers)
    return architecture, initialize(architecture, "orthogonal", np.random.default_rng(0))


def test_diagnostics_do_not_change_training() -> None:
    """With dropout, carried state, averaged weights, two workers and a measurement at every evaluation."""
    changes: dict[str, Any] = {
        "model": model_config(("lstm", "tanh"), 2, 0.3), "ema_decay": 0.9, "max_epochs": 1, "eval_every": 3,
        "workers": 2, "optimizer": {**ADAM, "weight_decay": 0.1},
    }  # fmt: skip
    architecture, _ = network(("lstm", "tanh"), 2, BASE.hidden)
    monitor = GradientFlowMonitor(attrs.evolve(BASE, **changes, diagnostics=True), architecture, CORPUS)
    measured: list[GradientFlow] = []

    def measure_weights(_: RNNConfig, flat: Array) -> None:
        measured.append(monitor.measure(flat))

    without, with_diagnostics = (
        Trained(**changes),
        Trained(**changes, diagnostics=True, callback=measure_weights),
    )
    assert len(measured) > 4
    assert with_diagnostics.last.tobytes() == without.last.tobytes()
    assert with_diagnostics.result.params.tobytes() == without.result.params.tobytes()
    assert with_diagnostics.curve("val/loss") == without.curve("val/loss")
    assert not [name for _, metrics in without.metrics for name in metrics if name.startswith("diagnostics/")]
    assert with_diagnostics.curve("diagnostics/update_ratio")


@pytest.mark.parametrize("layers", [1, 2])
@KINDS
def test_measurement_is_complete_and_repeatable(kind: tuple[str, str], layers: int) -> None:
    architecture, flat = network(kind, layers)
    monitor = GradientFlowMonitor(attrs.evolve(BASE, hidden=8), architecture, CORPUS)
    first, again = monitor.measure(flat), monitor.measure(flat.copy())
    assert first.gradients.shape == (layers, architecture.states, BASE.seq_len)
    assert first.gradients.tobytes() == again.gradients.tobytes()
    metrics = first.metrics()
    assert metrics == again.metrics()
    expected = {"diagnostics/spectral_radius", "diagnostics/grad_norm_first_over_last"}
    expected |= {"diagnostics/spectral_radius2"} if layers == 2 else set()
    gates = [f"_{letter}" for letter in architecture.spec.gates[: architecture.spec.n_sigmoid]]
    expected |= {
        ("rnn", "tanh"): {"diagnostics/saturation"},
        ("rnn", "relu"): {"diagnostics/dead_units"},
    }.get(kind, {f"diagnostics/saturation{gate}" for gate in ("", *gates)})
    expected |= {"diagnostics/grad_norm_first_over_last_c"} if architecture.states == 2 else set()
    assert metrics.keys() == expected
    assert all(type(value) is float for value in metrics.values())
    top = first.gradients[-1, 0]
    assert metrics["diagnostics/grad_norm_first_over_last"] == top[-1] / top[0]
    w = named_views(architecture, flat)["wh"].reshape(-1, 8, 8)[-1]
    radius = abs(np.linalg.eigvals(w.astype(np.float64))).max()  # of an orthogonal matrix
    assert metrics["diagnostics/spectral_radius"] == pytest.approx(radius, rel=radius_error(8))


def saturation_of(kind: tuple[str, str], *biases: list[Any]) -> dict[str, float]:
    """Return the saturation of a network with zero weights and the given biases of each layer."""
    hidden = np.shape(biases[0])[-1]
    architecture, flat = network(kind, len(biases), hidden)
    flat[:] = 0
    for layer, values in zip(unflatten(architecture, flat).layers, biases, strict=True):
        layer.b[: len(values)] = values
    ids, targets = np.zeros((5, 3), np.intp), np.zeros(3, np.intp)
    return measure(flat, ids, targets, Buffers.allocate(architecture, 5, 3)).saturation


def test_saturated_units_are_counted() -> None:
    """One unit without input, one saturated unit; two units near the threshold; two layers."""
    half = {"diagnostics/saturation": 0.5}
    assert saturation_of(("rnn", "tanh"), [[0, -2]]) == half
    assert saturation_of(("rnn", "tanh"), [[1.4, -1.5]]) == half  # tanh: 0.885, -0.905
    assert saturation_of(("rnn", "tanh"), [[0, 0]], [[2, 2]]) == half


def test_dead_units_are_counted() -> None:
    architecture, flat = network(("rnn", "relu"), hidden=4)
    p, buffers = unflatten(architecture, flat := np.zeros_like(flat)), Buffers.allocate(architecture, 2, 2)
    p.layers[0].wx[0, 1] = 1, 0, 0, -1  # only for character 1
    p.layers[0].b[0] = -0.5, 0.5, -0.5, -0.5
    saturation_found = measure(flat, np.array([[0, 0], [0, 1]]), np.zeros(2, np.intp), buffers).saturation
    assert saturation_found == {"diagnostics/dead_units": 0.5}


@pytest.mark.parametrize(("cell", "gates"), [("gru", "rz"), ("lstm", "oif")])
def test_gate_saturation_is_counted(cell: str, gates: str) -> None:
    # sigma: 0.95, 0.05, 0.88, 0.5
    found = saturation_of((cell, "tanh"), [[3, -3, 2, 0], [3, 3, 3, 3]])
    share = dict.fromkeys(gates, 0.0) | {gates[0]: 0.5, gates[1]: 1.0}
    assert found == {f"diagnostics/saturation_{name}": value for name, value in share.items()} | {
        "diagnostics/saturation": pytest.approx(1.5 / len(gates), rel=gamma(3, DOUBLE))
    }


def test_nan_weights_are_omitted() -> None:
    architecture, flat = network()
    monitor = GradientFlowMonitor(attrs.evolve(BASE, hidden=8), architecture, CORPUS)
    with np.errstate(all="ignore"):
        assert monitor.measure(np.full_like(flat, np.nan)).metrics().keys() == {"diagnostics/saturation"}


def test_windows_are_from_validation_split() -> None:
    architecture, flat = network()
    monitor = GradientFlowMonitor(attrs.evolve(BASE, hidden=8), architecture, CORPUS)
    text = CORPUS.vocabulary.decode(CORPUS.split("val"))
    assert monitor.ids.shape == (BASE.seq_len, WINDOWS)
    read = [CORPUS.vocabulary.decode(column) for column in np.vstack([monitor.ids, monitor.targets]).T]
    assert all(window in text for window in read)
    assert read[0] == text[: BASE.seq_len + 1]
    assert read[-1] == text[-BASE.seq_len - 1 :]
    monitor.measure(flat)
    assert not monitor.buffers.caches[0].h[0].any()


def test_number_of_windows_is_limited() -> None:
    architecture, _ = network()
    val = CORPUS.split("val").size
    few = GradientFlowMonitor(attrs.evolve(BASE, seq_len=val - 3, hidden=8), architecture, CORPUS)
    assert few.ids.shape == (val - 3, 3)
    one = GradientFlowMonitor(attrs.evolve(BASE, seq_len=val - 1, hidden=8), architecture, CORPUS)
    assert one.ids.shape == (val - 1, 1)
    assert GradientFlowMonitor(attrs.evolve(BASE, seq_len=16), config_of(16_384), CORPUS).ids.shape == (16, 4)


def test_measurement_interval() -> None:
    """Wide networks with small batches are measured less often. The cost is in benchmarks/."""

    def interval(hidden: int, batch: int, eval_every: int) -> int:
        config = attrs.evolve(BASE, batch_size=batch, eval_every=eval_every)
        monitor = GradientFlowMonitor(config, config_of(hidden), CORPUS)
        assert monitor.every % eval_every == 0
        return monitor.every

    assert [interval(8, 64, eval_every) for eval_every in (250, 100, 5)] == [250, 200, 200]
    assert 10 * interval(512, 64, 250) < interval(512, 1, 250)
    assert interval(512, 64, 250) <= 2000


def test_update_ratio_of_last_step() -> None:
    """With an evaluation at every step, the weights before and after each step are known."""
    decayed = {**ADAM, "weight_decay": 0.2}
    trained = Trained(
        max_epochs=0.5, eval_every=1, diagnostics=True, optimizer=decayed, model=model_config(layers=2)
    )
    assert len(trained.curve("diagnostics/update_ratio")) == trained.result.steps > 3
    before, updated = (trained.seen[step].astype(np.float64) for step in (2, 3))
    views = [named_views(trained.architecture, flat) for flat in (before, updated)]
    pairs = {f"_{name}": (w, views[1][name]) for name, w in views[0].items() if name[0] == "w"}
    assert list(pairs) == ["_wx", "_wh", "_wx2", "_wh2", "_wy"]
    for name, (w, after) in ({"": (before, updated)} | pairs).items():
        expected = np.linalg.norm(after - w) / np.linalg.norm(w)
        # float32: one rounding of a difference, two norms of many squares
        found = trained.curve(f"diagnostics/update_ratio{name}")[3]
        assert found == pytest.approx(expected, rel=gamma(before.size + 4, UNIT)), name


def test_update_ratio_is_measured_at_evaluations() -> None:
    trained = Trained(max_epochs=1, eval_every=7, diagnostics=True)
    steps = range(7, trained.result.steps + 1, 7)
    assert list(trained.curve("diagnostics/update_ratio")) == list(steps)


def test_zero_weights_have_no_update_ratio() -> None:
    architecture, flat = network()
    flat[:] = 0
    update = UpdateRatio(attrs.evolve(BASE, eval_every=1, diagnostics=True), architecture, flat)
    update.on_step_start(1)
    flat += 1
    update.on_step_end()
    assert update.ratios == {}
