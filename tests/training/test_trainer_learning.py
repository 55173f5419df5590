"""Short training runs on the sonnets learn."""

from math import log

import pytest

from src.config.schema import DataConfig
from src.data.corpus import Corpus, load_corpus
from src.evaluation.baselines import baselines
from src.training.trainer import Trainer
from tests.compose import composed
from tests.small_training import Recorder

pytestmark = pytest.mark.slow
SETTINGS = ("hidden=32", "workers=1", "eval_every=50")


@pytest.fixture(scope="module")
def sonnets(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    data = DataConfig("smallshake", None, True, True, False, "utf-8", [0.8, 0.1, 0.1], 1, 10000)
    return load_corpus(data, 20, tmp_path_factory.mktemp("sonnets"))[0]


@pytest.fixture(scope="module")
def known(sonnets: Corpus) -> dict[str, float]:
    return baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))


def test_learns_unigrams_then_bigrams(known: dict[str, float], sonnets: Corpus) -> None:
    """The loss falls below the unigram and then below the bigram baseline."""
    recorder = Recorder()
    result = Trainer(composed("config", *SETTINGS, "max_epochs=0.35"), sonnets).fit(recorder, [recorder])
    curve = recorder.curve("val/bpc")
    assert curve[50] < known["uniform"]
    unigram, bigram = (
        next(step for step, bits in curve.items() if bits < known[name]) for name in ("unigram", "ngram2")
    )
    assert unigram < bigram
    assert result.val_loss / log(2) == min(curve.values()) < known["ngram2"] - 0.1


@pytest.mark.parametrize("optimizer", ["sgd lr=1", "momentum lr=0.1", "adagrad lr=0.05", "rmsprop lr=2e-3"])
def test_every_optimizer_learns(optimizer: str, known: dict[str, float], sonnets: Corpus) -> None:
    settings = (*SETTINGS, "max_epochs=0.25", "schedule.warmup_steps=20", "ema_decay=0.9")
    config = composed("config", *settings, *f"optimizer={optimizer}".split())
    recorder = Recorder()
    assert Trainer(config, sonnets).fit(recorder, []).val_loss / log(2) < known["unigram"]
