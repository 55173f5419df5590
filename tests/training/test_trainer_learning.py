"""Short training runs on the sonnets learn, and the settings matter."""

from collections.abc import Callable
from math import log

import numpy as np
import pytest

from src.config.schema import Config
from src.data.corpus import Corpus
from src.evaluation.baselines import baselines
from src.rnn.parameters import Array
from src.training.callbacks import EarlyStopping
from src.training.train_state import TrainResult
from src.training.trainer import Trainer
from tests.commands import RunCli
from tests.small_training import Recorder

pytestmark = pytest.mark.slow


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
        run_cli("train", *settings, body=configs.append).check()
        return configs[0]

    return compose


def train(config: Config, corpus: Corpus) -> tuple[TrainResult, list[tuple[int, float]], Array]:
    """Return the result, the validation curve in bits, and the final (not the best) weights."""
    recorder = Recorder()
    result = Trainer(config, corpus).fit(recorder, [recorder, EarlyStopping(config.patience)])
    return result, list(recorder.curve("val/bpc").items()), recorder.seen[result.steps]


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


@pytest.mark.parametrize("optimizer", ["sgd lr=1", "momentum lr=0.1", "adagrad lr=0.05", "rmsprop lr=2e-3"])
def test_every_optimizer_learns(optimizer: str, config: Callable[..., Config], sonnets: Corpus) -> None:
    name, lr = optimizer.split()
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    chosen = config(f"optimizer={name}", lr, "max_epochs=0.25", "schedule.warmup_steps=20", "ema_decay=0.9")
    training_result, _, _ = train(chosen, sonnets)
    assert training_result.val_loss / log(2) < known["unigram"]


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
