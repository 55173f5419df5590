"""A loss, a gradient or a weight that is no number: noticed at once, never kept, and the way back from it."""

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
from tests.training.test_resume import Run, die, stopped_at

SETTINGS: dict[str, Any] = {"hidden": 8, "max_epochs": 2.3, "eval_every": 10, "log_every": 1}


def poisoned(monkeypatch: pytest.MonkeyPatch, *steps: int, of: str = "loss") -> None:
    """Let the loss, or one number of the gradient, of these batches be none."""
    compute, count = DataParallel.loss_and_gradient, [0]

    def poison(engine: DataParallel, *arguments: Any) -> float:
        loss, count[0] = compute(engine, *arguments), count[0] + 1
        if count[0] in steps and of == "gradient":
            engine.gradient[3] = np.inf
        return math.nan if count[0] in steps and of == "loss" else loss

    monkeypatch.setattr(DataParallel, "loss_and_gradient", poison)


@pytest.mark.parametrize("of", ["loss", "gradient"])
def test_it_is_caught_in_its_step_and_never_kept(
    of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, **SETTINGS)
    poisoned(monkeypatch, 25, of=of)
    with pytest.raises(DivergenceError) as raised:
        run.train()
    said = str(raised.value)
    assert said.startswith("lr: expected training to stay finite, got loss ")
    assert "gradient norm " in said
    assert "at step 25: try a smaller lr (now 0.02) or clip (now 5), or on_divergence=rollback" in said
    assert run.steps == [10, 20]
    assert max(step for step, _, _ in run.points) == 24
    for name, kept in run.last.items():
        assert name == "optimizer.step" or np.isfinite(np.frombuffer(kept, np.float32)).all(), name


def test_rollback_goes_back_to_the_last_evaluation_and_on_with_half_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, in the middle of an interval and at once again; the second time before anything was logged."""
    run = Run(tmp_path, **SETTINGS, on_divergence="rollback", rollback_lr_factor=0.25)
    poisoned(monkeypatch, 25, 26)
    outcome = run.train()
    assert (outcome.steps, outcome.stop_reason) == (33, "max_epochs")
    at = {name: [(s, v) for s, n, v in run.points if n == name] for name in ("rollbacks", "lr", "train/loss")}
    assert at["rollbacks"] == [(25, 1.0), (26, 2.0)]
    rates = {step: value / 0.02 for step, value in at["lr"]}
    assert rates.keys() == set(range(1, 34)) - {25, 26}
    assert {rates[step] for step in range(1, 25)} == {1.0}
    assert {round(rates[step], 9) for step in range(27, 34)} == {0.0625}
    assert len(run.points) == len({(step, name) for step, name, _ in run.points})


def test_rollback_puts_weights_and_optimizer_back_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, bytes]] = []
    back = trainer.Trainer._roll_back

    def watched(loop: trainer.Trainer, what: str) -> None:
        back(loop, what)
        seen.append({name: array.tobytes() for name, array in loop.moving.items()})

    monkeypatch.setattr(trainer.Trainer, "_roll_back", watched)
    poisoned(monkeypatch, 6, 25)
    run = Run(tmp_path / "good", **SETTINGS, on_divergence="rollback", ema_decay=0.9)
    kept: list[dict[str, bytes]] = []
    save = Run.save

    def remember(run: Run, loop: trainer.Trainer) -> None:
        save(run, loop)
        kept.append({name: array.tobytes() for name, array in loop.moving.items()})

    monkeypatch.setattr(Run, "save", remember)
    run.train()
    assert seen[1] == kept[1], "as at step 20"
    begin = initialize(run.architecture, "orthogonal", np.random.default_rng(1)).tobytes()
    assert (seen[0]["weights"], seen[0]["averaged"]) == (begin, begin), (
        "before the first evaluation: the beginning"
    )


def test_rollback_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch, *range(12, 40))
    run = Run(tmp_path, **SETTINGS, on_divergence="rollback", max_rollbacks=2)
    with pytest.raises(DivergenceError, match=r"at step 14 after 2 rollbacks: .* \(now 0\.02 times 0\.25\)"):
        run.train()


@pytest.mark.parametrize("at", [15, 25, 31])
def test_rollback_is_exact_across_an_interruption(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in front of it, right behind it and later."""
    settings = SETTINGS | {"on_divergence": "rollback", "batching": "shuffled", "max_epochs": 0.25}
    straight, broken = Run(tmp_path / "straight", **settings), Run(tmp_path / "broken", **settings)
    with monkeypatch.context() as patched:
        poisoned_losses(patched, straight)
        whole = straight.train()
    with monkeypatch.context() as patched:
        poisoned_losses(patched, broken)
        stopped_at(patched, at, die)
        with pytest.raises(Exception, match=r"^$"):
            broken.train()
    with monkeypatch.context() as patched:
        poisoned_losses(patched, broken)
        again = broken.go_on()
    assert [p for p in straight.points if p[1] == "rollbacks"] == [(24, "rollbacks", 1.0)]
    assert broken.points == straight.points
    assert broken.last == straight.last
    assert again.params.tobytes() == whole.params.tobytes()


def poisoned_losses(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Step 24 diverges, by its number and not by how often this process has computed."""
    step = trainer.Trainer.train_step
    current: list[trainer.Trainer] = []
    compute = DataParallel.loss_and_gradient

    def noted(loop: trainer.Trainer) -> None:
        current[:] = [loop]
        step(loop)

    def poison(*arguments: Any) -> float:
        loss = compute(*arguments)
        return math.nan if current[0].step == 24 else loss

    monkeypatch.setattr(trainer.Trainer, "train_step", noted)
    monkeypatch.setattr(DataParallel, "loss_and_gradient", poison)


@pytest.mark.parametrize("step", [20, 33])
def test_a_validation_loss_that_is_no_number_is_divergence_too(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle and behind the last step."""
    measure, count = validation_loss, [0]
    which = {20: 2, 33: 4}[step]

    def poison(*arguments: Any) -> float:
        count[0] += 1
        return math.nan if count[0] == which else measure(*arguments)

    monkeypatch.setattr(trainer, "validation_loss", poison)
    with pytest.raises(DivergenceError, match=f"validation loss nan at step {step}"):
        Run(tmp_path / "stop", **SETTINGS).train()
    count[0] = 0
    run = Run(tmp_path / "back", **SETTINGS, on_divergence="rollback")
    outcome = run.train()
    assert [(s, v) for s, n, v in run.points if n == "rollbacks"] == [(step, 1.0)]
    assert step not in [s for s, n, _ in run.points if n == "val/loss"]
    assert math.isfinite(outcome.val_loss)
    assert np.isfinite(outcome.params).all()


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path) -> None:
    """A rate at which one update overflows, though loss and gradient were fine."""
    run = Run(
        tmp_path,
        **SETTINGS | {"lr": 1e38, "clip": None, "eval_every": 1, "optimizer": target("optimizers.SGD")},
    )
    with pytest.raises(DivergenceError):
        run.train()
    assert run.steps == []


def test_a_score_that_is_no_number_is_a_failure_and_no_figure() -> None:
    """ReLU along a text of any length, with weights that let the carried state grow."""
    architecture = RNNConfig(len(CORPUS.vocabulary), 8, "rnn", 1, "relu")
    flat = initialize(architecture, "identity", np.random.default_rng(0)) * np.float32(4)
    with pytest.raises(
        DivergenceError, match=r"model: expected a network that stays finite on the test split"
    ):
        evaluate_network(architecture, flat, CORPUS, 5, np.random.default_rng(0))


def test_how_often_one_looks_logs_and_keeps_changes_nothing(tmp_path: Path) -> None:
    runs = [
        Run(tmp_path / str(k), **SETTINGS | {"eval_every": e, "log_every": g, "ema_decay": 0.9})
        for k, (e, g) in enumerate([(1, 1), (7, 3), (100, 50)])
    ]
    ends = []
    for run in runs:
        run.train()
        names = ("weights", "averaged", "carried", "optimizer.exp_avg")
        ends.append({name: run.last[name] for name in names})
    assert ends[0] == ends[1] == ends[2]
    assert [len(run.steps) for run in runs] == [33, 5, 1]
