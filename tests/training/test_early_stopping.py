"""The end of training and the weights that it keeps."""

import math
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from src.data.batches import build_batches
from src.training import trainer
from src.training.train_state import BestWeights
from tests.small_training import BASE, CORPUS, NOISE, Trained


@pytest.mark.parametrize("max_epochs", [0.5, 2.25])
def test_max_epochs_ends_training_with_evaluation(max_epochs: float) -> None:
    trained = Trained(max_epochs=max_epochs, eval_every=7)
    per_epoch = build_batches(BASE, CORPUS, np.random.default_rng(0)).steps_per_epoch
    outcome = trained.result
    assert outcome.stop_reason == "max_epochs"
    assert outcome.steps == math.ceil(max_epochs * per_epoch)
    assert outcome.epochs == outcome.steps / per_epoch
    assert set(trained.seen) == {*range(7, outcome.steps + 1, 7), outcome.steps}
    assert max(trained.curve("train/loss")) == outcome.steps


def test_early_stopping_waits_for_patience_and_keeps_best_weights() -> None:
    """On noise the validation loss soon rises."""
    trained = Trained(NOISE, max_epochs=200, patience=3, eval_every=5)
    losses = list(trained.curve("val/loss").values())
    assert trained.result.stop_reason == "early stopping"
    assert trained.result.steps == 5 * len(losses)
    assert min(losses) == losses[-4]
    assert trained.result.best_step == trained.result.steps - 15
    assert trained.result.params.tobytes() == trained.seen[trained.result.best_step].tobytes()


def test_improvement_below_min_delta_is_ignored() -> None:
    trained = Trained(max_epochs=50, patience=2, min_delta=100.0, eval_every=5)
    assert trained.result.stop_reason == "early stopping"
    assert trained.result.steps == 15  # the first evaluation always counts
    assert trained.result.best_step == 15  # the lowest loss is kept


def test_max_seconds_ends_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()  # one millisecond per call
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 1000))
    trained = Trained(max_epochs=10_000, max_seconds=0.2)
    assert trained.result.stop_reason == "max_seconds"
    assert 0.2 <= trained.result.seconds < 0.25


def test_best_weights_are_a_copy() -> None:
    flat = np.zeros(2, np.float32)
    best = BestWeights(flat)
    observed = []
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.95, 1.85, math.nan], start=1):
        flat[:] = step
        observed.append((best.update(loss, flat, step, 0.1), best.wait_count, best.step))
    expected = [(True, 0, 1), (True, 0, 2), (False, 1, 2), (False, 2, 4), (True, 0, 5), (False, 1, 5)]
    assert observed == expected
    assert best.loss == 1.85
    assert best.params.tolist() == [5, 5]
