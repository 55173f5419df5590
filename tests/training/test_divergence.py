"""Nonfinite losses, gradients and weights are detected, never saved, and rolled back."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.common.errors import DivergenceError
from src.evaluation.evaluate import evaluate_network
from src.evaluation.scoring import validation_loss
from src.rnn.parameters import RNNConfig, initialize
from src.training import trainer
from src.training.data_parallel import DataParallel
from tests.small_training import CORPUS, target
from tests.training.test_resume import Killed, Run, kill, stop_at_step

SETTINGS: dict[str, Any] = {"hidden": 8, "max_epochs": 2.3, "eval_every": 10, "log_every": 1}


def inject_nan(monkeypatch: pytest.MonkeyPatch, *steps: int, quantity: str = "loss") -> None:
    """Make the loss, or one gradient element, of these steps nonfinite."""
    compute, count = DataParallel.loss_and_gradient, [0]

    def compute_with_nan(engine: DataParallel, *arguments: Any) -> float:
        loss, count[0] = compute(engine, *arguments), count[0] + 1
        if count[0] in steps and quantity == "gradient":
            engine.gradient[3] = np.inf
        return math.nan if count[0] in steps and quantity == "loss" else loss

    monkeypatch.setattr(DataParallel, "loss_and_gradient", compute_with_nan)


@pytest.mark.parametrize("quantity", ["loss", "gradient"])
def test_divergence_is_detected_and_not_saved(
    quantity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, **SETTINGS)
    inject_nan(monkeypatch, 25, quantity=quantity)
    message = (
        r"^lr: expected training to stay finite, got loss \S+ and gradient norm \S+ at step 25: "
        r"try a smaller lr \(now 0\.02\) or clip \(now 5\), or on_divergence=rollback"
    )
    with pytest.raises(DivergenceError, match=message):
        run.train()
    assert run.steps == [10, 20]
    assert max(step for step, _, _ in run.points) == 24
    for name, kept in run.last.items():
        assert name == "optimizer.step" or np.isfinite(np.frombuffer(kept, np.float32)).all(), name


def test_rollback_reduces_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rollbacks: within an interval and immediately again."""
    run = Run(tmp_path, **SETTINGS, on_divergence="rollback", rollback_lr_factor=0.25)
    inject_nan(monkeypatch, 25, 26)
    outcome = run.train()
    assert (outcome.steps, outcome.stop_reason) == (33, "max_epochs")
    assert [(step, value) for step, name, value in run.points if name == "rollbacks"] == [(25, 1), (26, 2)]
    rates = {step: round(value / 0.02, 9) for step, name, value in run.points if name == "lr"}
    assert rates == dict.fromkeys(range(1, 25), 1.0) | dict.fromkeys(range(27, 34), 0.0625)
    assert len(run.points) == len({(step, name) for step, name, _ in run.points})


def test_rollback_restores_weights_and_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[dict[str, bytes]] = []
    kept: list[dict[str, bytes]] = []
    roll_back, save = trainer.Trainer._roll_back, Run.save

    def arrays(loop: trainer.Trainer) -> dict[str, bytes]:
        return {name: array.tobytes() for name, array in loop.moving.items()}

    def recording_roll_back(loop: trainer.Trainer, what: str) -> None:
        roll_back(loop, what)
        restored.append(arrays(loop))

    def recording_save(run: Run, loop: trainer.Trainer) -> None:
        save(run, loop)
        kept.append(arrays(loop))

    monkeypatch.setattr(trainer.Trainer, "_roll_back", recording_roll_back)
    monkeypatch.setattr(Run, "save", recording_save)
    inject_nan(monkeypatch, 6, 25)
    run = Run(tmp_path, **SETTINGS, on_divergence="rollback", ema_decay=0.9)
    run.train()
    assert restored[1] == kept[1], "state of step 20"
    initial = initialize(run.architecture, "orthogonal", np.random.default_rng(1)).tobytes()
    assert restored[0]["weights"] == restored[0]["averaged"] == initial, "before the first evaluation"


def test_rollbacks_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject_nan(monkeypatch, *range(12, 40))
    run = Run(tmp_path, **SETTINGS, on_divergence="rollback", max_rollbacks=2)
    with pytest.raises(DivergenceError, match=r"at step 14 after 2 rollbacks: .* \(now 0\.02 times 0\.25\)"):
        run.train()


@pytest.mark.parametrize("step", [15, 25, 31])
def test_rollback_with_resume_is_bit_identical(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted before, right after and later than the rollback at step 24."""
    settings = SETTINGS | {"on_divergence": "rollback", "batching": "shuffled", "max_epochs": 0.25}
    uninterrupted, interrupted = Run(tmp_path / "straight", **settings), Run(tmp_path / "broken", **settings)
    with monkeypatch.context() as patched:
        inject_nan(patched, 24)
        expected = uninterrupted.train()
    with monkeypatch.context() as patched:
        inject_nan(patched, 24)
        stop_at_step(patched, step, kill)
        with pytest.raises(Killed):
            interrupted.train()
    inject_nan(monkeypatch, 24 - interrupted.steps[-1])  # steps since the checkpoint
    resumed = interrupted.resume()
    assert [p for p in uninterrupted.points if p[1] == "rollbacks"] == [(24, "rollbacks", 1.0)]
    assert interrupted.points == uninterrupted.points
    assert interrupted.last == uninterrupted.last
    assert resumed.params.tobytes() == expected.params.tobytes()


@pytest.mark.parametrize("step", [20, 33])
def test_nan_validation_loss_is_divergence(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At an intermediate and at the last evaluation."""
    measure, count = validation_loss, [0]
    which = {20: 2, 33: 4}[step]

    def compute_with_nan(*arguments: Any) -> float:
        count[0] += 1
        return math.nan if count[0] == which else measure(*arguments)

    monkeypatch.setattr(trainer, "validation_loss", compute_with_nan)
    with pytest.raises(DivergenceError, match=f"validation loss nan at step {step}"):
        Run(tmp_path / "stop", **SETTINGS).train()
    count[0] = 0
    run = Run(tmp_path / "back", **SETTINGS, on_divergence="rollback")
    outcome = run.train()
    assert [(s, v) for s, n, v in run.points if n == "rollbacks"] == [(step, 1.0)]
    assert step not in [s for s, n, _ in run.points if n == "val/loss"]
    assert math.isfinite(outcome.val_loss)
    assert np.isfinite(outcome.params).all()


def test_nan_weights_are_not_saved(tmp_path: Path) -> None:
    """One update overflows although loss and gradient are finite."""
    overflow = {"lr": 1e38, "clip": None, "eval_every": 1, "optimizer": target("optimizers.SGD")}
    run = Run(tmp_path, **SETTINGS | overflow)
    with pytest.raises(DivergenceError):
        run.train()
    assert run.steps == []


def test_nan_score_is_divergence() -> None:
    """A relu network whose carried state grows."""
    architecture = RNNConfig(len(CORPUS.vocabulary), 8, "rnn", 1, "relu")
    flat = initialize(architecture, "identity", np.random.default_rng(0)) * np.float32(4)
    with pytest.raises(DivergenceError, match="model: expected a network that stays finite on the test"):
        evaluate_network(architecture, flat, CORPUS, 5, np.random.default_rng(0))
