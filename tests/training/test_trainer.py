"""The training loop: learning, single steps, and side effects of callbacks."""

import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from src.config.schema import DataConfig, ModelConfig
from src.data.batches import ContiguousStreams, ShuffledWindows, build_batches
from src.data.corpus import Corpus, load_corpus
from src.evaluation.baselines import baselines
from src.evaluation.scoring import validation_loss
from src.generation.sampling import sample
from src.models.serialization import TrainedModel
from src.rnn.cells import CELLS
from src.rnn.parameters import Array, RNNConfig, initialize, named_views
from src.rnn.schedules import Plateau
from tests.rounding import UNIT, gamma
from tests.small_training import BASE, CORPUS, NOISE, VERSE, Trained, corpus_of, model_config, target


def unigram(corpus: Corpus) -> float:
    """Return the unigram loss of the validation split in nats per character."""
    count = np.bincount(corpus.split("train"), minlength=len(corpus.vocabulary))
    return float(-np.log(count[corpus.split("val")] / count.sum()).mean())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_every_cell_learns(kind: tuple[str, str], layers: int) -> None:
    trained = Trained(model=model_config(kind, layers), max_epochs=5)
    losses = list(trained.curve("val/loss").values())
    assert trained.result.val_loss == min(losses) < 0.6 * unigram(CORPUS)
    assert trained.curve("train/loss")[10] > list(trained.curve("train/loss").values())[-1]
    kept = validation_loss(trained.architecture, trained.result.params, CORPUS.split("val"))
    assert kept == trained.result.val_loss


@pytest.mark.parametrize(
    "changes",
    [
        {"batching": "shuffled", "stateful": False, "max_epochs": 0.5},
        {"batching": "shuffled", "max_epochs": 0.5},
        {"stateful": False},
        {"optimizer": target("optimizers.SGD"), "lr": 1.0},
        {"optimizer": target("optimizers.Momentum", momentum=0.9, nesterov=False), "lr": 0.1},
        {"optimizer": target("optimizers.Adagrad", eps=1e-8), "lr": 0.05, "ema_decay": 0.5},
        {"optimizer": target("optimizers.RMSprop", decay=0.9, eps=1e-8), "lr": 0.01},
    ],
    ids=str,
)
def test_every_batching_and_optimizer_learns(changes: dict[str, Any]) -> None:
    assert Trained(**changes).result.val_loss < 0.8 * unigram(CORPUS)


@pytest.mark.slow
def test_learns_unigrams_then_bigrams(tmp_path: Path) -> None:
    """On the sonnets the loss falls below the unigram and then below the bigram baseline."""
    data = DataConfig("smallshake", None, True, True, False, "utf-8", [0.8, 0.1, 0.1], 1, 10000)
    sonnets, _ = load_corpus(data, 20, tmp_path)
    known = baselines(sonnets.split("train"), sonnets.split("val"), len(sonnets.vocabulary))
    trained = Trained(
        sonnets, hidden=32, seq_len=20, batch_size=64, lr=0.002, batching="shuffled", stateful=False,
        max_epochs=0.35, eval_every=50,
    )  # fmt: skip
    curve = trained.curve("val/bpc")
    assert curve[50] < known["uniform"]
    unigram, bigram = (
        next(step for step, bits in curve.items() if bits < known[name]) for name in ("unigram", "ngram2")
    )
    assert unigram < bigram
    assert trained.result.val_loss / math.log(2) == min(curve.values()) < known["ngram2"] - 0.1


def test_stateful_carries_state() -> None:
    carried, reset = (
        Trained(stateful=stateful, max_epochs=0.3, log_every=1).curve("train/loss")
        for stateful in (True, False)
    )
    assert carried[1] == reset[1]  # the first batch always starts from zero
    assert carried[2] != reset[2]


def test_batching_selects_class() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(build_batches(BASE, CORPUS, rng), ContiguousStreams)
    assert isinstance(build_batches(attrs.evolve(BASE, batching="shuffled"), CORPUS, rng), ShuffledWindows)


def sample_and_score(architecture: RNNConfig, flat: Array) -> None:
    """Sample, score and use NumPy's global random state."""
    model = TrainedModel(architecture, flat, CORPUS.vocabulary, CORPUS.normalization)
    np.random.seed(len("".join(sample(model, "the ", 0.7, 30, np.random.default_rng(9)))))  # noqa: NPY002
    validation_loss(architecture, flat, CORPUS.split("val"))


@pytest.mark.parametrize(("kind", "average"), [*((kind, 0.0) for kind in CELLS), (("lstm", "tanh"), 0.9)])
def test_evaluation_and_sampling_do_not_change_training(kind: tuple[str, str], average: float) -> None:
    """With carried state and dropout."""
    changes: dict[str, Any] = {"model": model_config(kind, 2, 0.3), "ema_decay": average, "max_epochs": 1}
    rare = Trained(**changes, eval_every=10_000)
    frequent = Trained(**changes, eval_every=3, log_every=1, callback=sample_and_score)
    assert len(rare.seen) == 1
    assert len(frequent.seen) > 4
    assert frequent.result.steps == rare.result.steps
    assert frequent.last.tobytes() == rare.last.tobytes()


def test_seed_and_settings_change_weights() -> None:
    """With dropout; the same settings give the same weights."""

    def trained(**changes: Any) -> bytes:
        settings: dict[str, Any] = {"model": model_config(("lstm", "tanh"), 2, 0.3), "max_epochs": 0.2}
        return Trained(**settings | changes).last.tobytes()

    weights = {
        trained(), trained(seed=2), trained(lr=0.01), trained(clip=0.1), trained(ema_decay=0.5),
        trained(clip=0.01, clip_mode="value"), trained(model=ModelConfig("lstm", 2, 0.3, "uniform", "tanh")),
    }  # fmt: skip
    assert len(weights) == 7
    assert trained() in weights


def test_training_with_two_workers_is_repeatable() -> None:
    model = model_config(("lstm", "tanh"), 2, 0.3)
    first, again = (Trained(model=model, workers=2, max_epochs=0.2).last for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_dropout_is_not_used_in_evaluation() -> None:
    plain, dropped = (Trained(model=model_config(layers=2, dropout=d), max_epochs=1) for d in (0.0, 0.5))
    assert plain.last.tobytes() != dropped.last.tobytes()
    for step, flat in dropped.seen.items():
        expected = validation_loss(dropped.architecture, flat, CORPUS.split("val"))
        assert dropped.curve("val/loss")[step] == expected


def test_plateau_reduces_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = []

    class RecordingPlateau(Plateau):
        def on_validation(self, improved: bool) -> None:
            observed.append(improved)
            super().on_validation(improved)

    monkeypatch.setattr("src.rnn.schedules.Plateau", RecordingPlateau)
    schedule = target("schedules.Plateau", warmup_steps=0, factor=0.5, patience=2, min_lr_factor=0.2)
    trained = Trained(NOISE, max_epochs=8, eval_every=5, log_every=1, schedule=schedule)
    lr, losses = trained.curve("lr"), list(trained.curve("val/loss").values())
    expected = [loss < min(losses[:k], default=math.inf) for k, loss in enumerate(losses)]
    assert observed == expected[: len(observed)]
    assert len(expected) - len(observed) <= 1  # the schedule is not notified after the last step
    assert {round(value / BASE.lr, 6) for value in lr.values()} == {1.0, 0.5, 0.25, 0.2}
    assert sorted(lr.values(), reverse=True) == list(lr.values())


@pytest.mark.parametrize("mode", ["norm", "value"])
def test_clip_fraction_is_logged(mode: str) -> None:
    shares = []
    for clip in (1e-6, 1e6, None, 0.05 if mode == "value" else 0.5):
        trained = Trained(clip=clip, clip_mode=mode, max_epochs=2)
        shares.append(list(trained.curve("grad/clip_fraction").values()))
    always, never, none, sometimes = shares
    assert set(always) == {1.0}
    assert set(never) == set(none) == {0.0}
    assert all(0 <= share <= 1 for share in sometimes)
    assert 0 < np.mean(sometimes) < 1


@pytest.mark.parametrize(("mode", "order"), [("norm", 2), ("value", np.inf)])
def test_clipped_step_has_limited_length(mode: str, order: float) -> None:
    """One step of SGD from known weights."""
    trained = Trained(clip=0.01, clip_mode=mode, optimizer=target("optimizers.SGD"), lr=1.0, max_epochs=1e-6)
    assert trained.result.steps == 1
    initial = initialize(trained.architecture, "orthogonal", np.random.default_rng(BASE.seed))
    moved, last = (w.astype(np.float64) for w in (trained.last, initial)), trained.last
    length = np.linalg.norm(next(moved) - next(moved), order)
    # each weight rounds to float32 once, and the norm of the gradient is a sum of squares
    bound = UNIT * float(np.linalg.norm(last, order)) + 0.01 * gamma(last.size)
    assert length == pytest.approx(0.01, rel=0, abs=bound)


def test_weight_decay_excludes_biases() -> None:
    plain, decayed = (
        Trained(optimizer=o, lr=0.1, max_epochs=1e-6, model=model_config(("gru", "tanh"), 2))
        for o in (target("optimizers.SGD"), target("optimizers.SGD", weight_decay=0.5))
    )
    initial = initialize(plain.architecture, "orthogonal", np.random.default_rng(BASE.seed))
    views = [named_views(plain.architecture, flat) for flat in (plain.last, decayed.last, initial)]
    for name, without in views[0].items():
        share = 0.05 if name[0] == "w" else 0.0
        # roundings of w and its step in both runs, of 1 - share and of this difference
        bound = gamma(6) * float(max(abs(without).max(), abs(views[2][name]).max()))
        expected = without - share * views[2][name]
        np.testing.assert_allclose(views[1][name], expected, rtol=0, atol=bound, err_msg=name)


def test_max_eval_chars_limits_validation() -> None:
    verse = corpus_of(VERSE * 1000)
    trained = Trained(verse, max_epochs=0.1, max_eval_chars=320)
    curve = trained.curve("val/loss")
    for step, flat in trained.seen.items():
        bounded = validation_loss(trained.architecture, flat, verse.split("val"), 320)
        assert curve[step] == bounded != validation_loss(trained.architecture, flat, verse.split("val"))
