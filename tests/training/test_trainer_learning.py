"""Short training runs on the sonnets learn, and the settings matter."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest

from src.config.schema import Config
from src.data.corpus import Corpus
from src.evaluation.baselines import baselines
from src.rnn.parameters import Array
from src.training.callbacks import EarlyStopping
from src.training.train_state import TrainResult
from src.training.trainer import Trainer
from tests.rounding import DOUBLE, gamma
from tests.small_training import Recorder

RunCli = Callable[..., Any]


@pytest.fixture(scope="module")
def sonnets(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    from src.config.schema import DataConfig
    from src.data.corpus import load_corpus

    data = DataConfig("smallshake", None, True, True, False, "utf-8", [0.8, 0.1, 0.1], 1, 10000)
    return load_corpus(data, 20, tmp_path_factory.mktemp("sonnets"))[0]


@pytest.fixture
def config(run_cli: RunCli) -> Callable[..., Config]:
    """Compose a config for a short training run in this process."""

    def compose(*arguments: str) -> Config:
        configs: list[Config] = []
        settings = ("hidden=32", "workers=1", "patience=null", "eval_every=50", *arguments)
        result = run_cli("train", *settings, body=configs.append)
        assert result.rc == 0, result.err
        return configs[0]

    return compose


def train(config: Config, corpus: Corpus) -> tuple[TrainResult, list[tuple[int, float]], Array]:
    """Return the result, the validation curve in bits, and the final (not the best) weights."""
    recorder = Recorder()
    result = Trainer(config, corpus).fit(recorder, [recorder, EarlyStopping(config.patience)])
    return result, list(recorder.curve("val/bpc").items()), recorder.seen[result.steps]


@pytest.mark.slow
def test_learns_unigrams_then_bigrams(config: Callable[..., Config], sonnets: Corpus) -> None:
    """The loss falls below the unigram and then below the bigram baseline."""
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    training_result, curve, _ = train(config("max_epochs=0.35"), sonnets)
    bits = [value for _, value in curve]
    assert bits[0] < known["uniform"]
    first = {
        name: next(step for step, value in curve if value < known[name]) for name in ("unigram", "ngram2")
    }
    assert first["unigram"] < first["ngram2"] <= training_result.steps
    assert training_result.val_loss / log(2) == min(bits) < known["ngram2"] - 0.1
    assert training_result.seconds < 30


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd lr=1", "momentum lr=0.1", "adagrad lr=0.05", "rmsprop lr=2e-3"])
def test_every_optimizer_learns(optimizer: str, config: Callable[..., Config], sonnets: Corpus) -> None:
    name, lr = optimizer.split()
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    chosen = config(f"optimizer={name}", lr, "max_epochs=0.25", "schedule.warmup_steps=20", "ema_decay=0.9")
    training_result, _, _ = train(chosen, sonnets)
    assert training_result.val_loss / log(2) < known["unigram"]


@pytest.mark.slow
@pytest.mark.parametrize(("average", "schedule"), [(0, "cosine"), (0.99, "constant")])
def test_evaluation_interval_does_not_change_weights(
    average: float, schedule: str, config: Callable[..., Config], sonnets: Corpus
) -> None:
    settings = ("max_epochs=0.06", f"ema_decay={average}", f"schedule={schedule}", "hidden=16")
    rare = train(config(*settings, "eval_every=10000", "log_every=10000"), sonnets)
    frequent = train(config(*settings, "eval_every=7", "log_every=1"), sonnets)
    assert rare[0].steps == frequent[0].steps
    assert len(rare[1]) == 1
    assert len(frequent[1]) > 8
    assert np.array_equal(rare[2], frequent[2])


@pytest.mark.slow
def test_seed_and_settings_change_weights(config: Callable[..., Config], sonnets: Corpus) -> None:
    settings = ("max_epochs=0.02", "hidden=16")
    first = train(config(*settings), sonnets)[2]
    assert np.array_equal(first, train(config(*settings), sonnets)[2])
    for change in (
        "seed=2",
        "lr=2e-3",
        "clip=0.1",
        "clip=0.01 clip_mode=value",
        "model.init=uniform",
        "ema_decay=0.5",
    ):
        assert not np.array_equal(first, train(config(*settings, *change.split()), sonnets)[2]), change


@pytest.mark.slow
def test_early_stopping_keeps_best_weights(config: Callable[..., Config], sonnets: Corpus) -> None:
    """A learning rate that is too high soon stops improving."""
    high_lr = config("lr=0.5", "max_epochs=20", "patience=3", "ema_decay=0", "eval_every=20", "hidden=16")
    training_result, curve, _ = train(high_lr, sonnets)
    assert training_result.stop_reason == "early stopping"
    best_step, best = min(curve, key=lambda point: point[1])
    assert training_result.best_step == best_step
    assert training_result.val_loss == pytest.approx(
        best * log(2), rel=gamma(3, DOUBLE)
    )  # conversion to bits and back
    assert len(curve) >= 4
    assert curve[-1][0] == training_result.steps
    assert training_result.steps - best_step >= 3 * 20


@pytest.mark.slow
def test_max_seconds_stops_training(config: Callable[..., Config], sonnets: Corpus) -> None:
    training_result, _, _ = train(config("max_seconds=0.4", "max_epochs=1000", "hidden=16"), sonnets)
    assert training_result.stop_reason == "max_seconds"
    assert training_result.seconds >= 0.4
    assert training_result.epochs < 1000
