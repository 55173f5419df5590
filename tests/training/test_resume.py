"""Resumed training is bit-identical to uninterrupted training."""

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest

from src.common.errors import UserError
from src.common.process import Preempted
from src.config.schema import Config
from src.training import checkpoint, trainer
from src.training.callbacks import EarlyStopping
from src.training.data_parallel import DataParallel
from src.training.train_state import TrainResult, TrainState
from src.training.trainer import Trainer
from tests.small_training import BASE, CORPUS, Recorder, model_config, target

pytestmark = pytest.mark.slow

TIMING_METRICS = {"throughput/chars_per_second"}
Points = list[tuple[int, str, float]]


class Run(Recorder):
    """Training runs of one config; each continues from the last checkpoint."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        super().__init__()
        self.folder = folder
        self.config: Config = attrs.evolve(BASE, **changes)
        self.architecture = Trainer(self.config, CORPUS).architecture
        self.points: Points = []
        self.last: dict[str, bytes] = {}
        self.steps: list[int] = []
        self.saved = (0, 0)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.points += [(step, name, value) for name, value in metrics.items() if name not in TIMING_METRICS]

    def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
        if not trainer.stop_reason:
            self.save(trainer)

    def on_steps_end(self, trainer: Trainer) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Save like CheckpointCallback, which needs a run directory."""
        if self.saved == (trainer.step, trainer.counters.validated):
            return
        self.saved = trainer.step, trainer.counters.validated
        state = trainer.train_state()
        checkpoint.save_training(self.folder, trainer, event_log_bytes=0, sample_chars=0)
        self.last = {name: array.tobytes() for name, array in state.arrays.items()}
        self.steps.append(state.step)

    def train(self, state: TrainState | None = None) -> TrainResult:
        counters = state.state["counters"] if state else {"step": 0, "validated": 0}
        self.saved = counters["step"], counters["validated"]
        return Trainer(self.config, CORPUS).fit(self, [EarlyStopping(self.config.patience), self], state)

    def resume(self) -> TrainResult:
        loaded = checkpoint.load(checkpoint.list_checkpoints(self.folder)[0])
        state = loaded.train_state
        self.points = [point for point in self.points if point[0] <= state.step]
        return self.train(state)


class Killed(Exception):
    """Raised instead of the next step."""


def kill() -> None:
    raise Killed


def terminate() -> None:
    """Send SIGTERM to this process; the handler exists only during training."""
    os.kill(os.getpid(), signal.SIGTERM)


def stop_at_step(monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], None]) -> None:
    """Call `stop` before the gradient of the given step."""
    compute, count = DataParallel.loss_and_gradient, [0]

    def call(*arguments: Any) -> float:
        count[0] += 1
        if count[0] == step:
            stop()
        return compute(*arguments)

    monkeypatch.setattr(DataParallel, "loss_and_gradient", call)


LSTM = ("lstm", "tanh")
PLATEAU = target("schedules.Plateau", warmup_steps=3, factor=0.5, patience=1, min_lr_factor=0.01)
SETTINGS: dict[str, Any] = {"hidden": 8, "max_epochs": 2.3, "eval_every": 10, "log_every": 4}
STRIDES = attrs.evolve(BASE.data, stride=10)  # makes epochs of windows as short as those of streams
CASES: dict[str, dict[str, Any]] = {
    "sgd, gru, windows, dropout": {
        "optimizer": target("optimizers.SGD", weight_decay=0.1), "clip_mode": "value", "clip": 0.1,
        "model": model_config(("gru", "tanh"), 2, 0.3), "batching": "shuffled", "stateful": False,
    },
    "momentum, constant, lstm, windows, carried": {
        "optimizer": target("optimizers.Momentum", momentum=0.9, nesterov=True),
        "schedule": target("schedules.Constant", warmup_steps=7),
        "model": model_config(LSTM), "batching": "shuffled", "stateful": True,
    },
    "adagrad, cosine, lstm, stream, dropout": {
        "optimizer": target("optimizers.Adagrad", eps=1e-8),
        "schedule": target("schedules.Cosine", warmup_steps=9, min_lr_factor=0.1),
        "model": model_config(LSTM, 2, 0.2), "ema_decay": 0.5,
    },
    "rmsprop, plateau": {
        "optimizer": target("optimizers.RMSprop", decay=0.9, eps=1e-8),
        "schedule": PLATEAU, "min_delta": 0.05,
    },
    "adam, averaged, relu, going back, state reset": {
        "optimizer": target("optimizers.Adam", weight_decay=1e-3, beta1=0.9, beta2=0.99, eps=1e-8),
        "model": model_config(("rnn", "relu")), "on_divergence": "rollback",
        "ema_decay": 0.9, "stateful": False,
    },
    "two processes": {"workers": 2, "model": model_config(LSTM, 2, 0.2), "ema_decay": 0.9},
}  # fmt: skip


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_resumed_training_is_bit_identical(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill loses the steps since the last evaluation, SIGTERM loses none."""
    settings = SETTINGS | {"data": STRIDES} | changes
    uninterrupted, interrupted = Run(tmp_path / "straight", **settings), Run(tmp_path / "broken", **settings)
    expected = uninterrupted.train()
    assert 28 < expected.steps < 40
    with monkeypatch.context() as patched:
        stop_at_step(patched, 25, kill)
        with pytest.raises(Killed):
            interrupted.train()
    assert interrupted.steps == [10, 20]
    with monkeypatch.context() as patched:
        stop_at_step(patched, 7, terminate)  # the seventh step after the checkpoint
        with pytest.raises(Preempted):
            interrupted.resume()
    assert interrupted.steps == [10, 20, 27]
    resumed = interrupted.resume()
    assert interrupted.last == uninterrupted.last, "final arrays differ"
    assert resumed.params.tobytes() == expected.params.tobytes()
    assert resumed.params.dtype == np.float32
    fields = ("val_loss", "best_step", "steps", "epochs", "stop_reason")
    assert [getattr(resumed, name) for name in fields] == [getattr(expected, name) for name in fields]
    assert interrupted.points == uninterrupted.points


def test_ctrl_c_adds_only_one_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with the best weights; the checkpoint is not affected."""
    settings = SETTINGS | {"ema_decay": 0.9}
    uninterrupted, interrupted = Run(tmp_path / "straight", **settings), Run(tmp_path / "broken", **settings)
    expected = uninterrupted.train()
    with monkeypatch.context() as patched:
        stop_at_step(patched, 23, lambda: os.kill(os.getpid(), signal.SIGINT))
        outcome = interrupted.train()
    assert (outcome.stop_reason, outcome.steps, interrupted.steps) == ("interrupted", 23, [10, 20, 23])
    resumed = interrupted.resume()
    assert resumed.params.tobytes() == expected.params.tobytes()
    assert interrupted.last == uninterrupted.last
    assert [p for p in interrupted.points if p not in uninterrupted.points] == [
        p for p in interrupted.points if p[0] == 23 and p[1].startswith("val/")
    ]
    assert [p for p in interrupted.points if p in uninterrupted.points] == uninterrupted.points


def test_more_epochs_continue_training(tmp_path: Path) -> None:
    """With a constant schedule; only the points of the first end differ."""
    settings = SETTINGS | {"schedule": target("schedules.Constant", warmup_steps=3), "max_epochs": 3}
    long, short = (
        Run(tmp_path / "long", **settings),
        Run(tmp_path / "short", **settings | {"max_epochs": 1.9}),
    )
    long.train()
    assert short.train().steps == 27
    short.config = attrs.evolve(short.config, max_epochs=3)
    short.resume()
    assert short.last == long.last
    assert [p for p in short.points if p in long.points] == long.points
    assert {step for step, _, _ in short.points} - {step for step, _, _ in long.points} == {27}


def test_larger_patience_continues_training(tmp_path: Path) -> None:
    settings = {"hidden": 8, "eval_every": 5, "log_every": 5, "min_delta": 100.0, "max_epochs": 3}
    expected, run = Run(tmp_path / "whole", **settings), Run(tmp_path / "run", **settings)
    run.config = attrs.evolve(run.config, patience=2)
    first = run.train()
    assert (first.stop_reason, first.steps) == ("early stopping", 15)
    assert run.resume().steps == 15, "the same patience must not train further"
    run.config = attrs.evolve(run.config, patience=3)
    assert run.resume().steps == 20
    run.config = attrs.evolve(run.config, patience=None)
    run.resume()
    expected.train()
    assert (run.last, run.points) == (expected.last, expected.points)


def test_max_seconds_includes_previous_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()  # one millisecond per call
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: next(clock) / 1000))
    run = Run(tmp_path, hidden=8, max_epochs=10_000, max_seconds=0.1, eval_every=5)
    first = run.train()
    assert first.stop_reason == "max_seconds"
    resumed = run.resume()
    assert (resumed.stop_reason, resumed.steps) == ("max_seconds", first.steps)
    run.config = attrs.evolve(run.config, max_seconds=0.2)
    longer = run.resume()
    assert longer.steps > first.steps
    assert 0.2 <= longer.seconds < 0.25


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": 9}, "an array weights of shape"),
        ({"batch_size": 8}, "an array carried of shape"),
        ({"optimizer": target("optimizers.SGD", weight_decay=0.0)}, ""),
        ({"batching": "shuffled"}, "got KeyError"),
        ({"schedule": PLATEAU}, "got KeyError"),
    ],
)
def test_state_of_other_training_is_rejected(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    run = Run(tmp_path, hidden=8, max_epochs=0.5)
    run.train()
    run.config = attrs.evolve(run.config, **changes)
    if reason:
        with pytest.raises(UserError, match=f"resume: expected a checkpoint of this training, .*{reason}"):
            run.resume()
    else:
        run.resume()  # SGD ignores additional arrays
