"""The training loop on a text of a few thousand characters: what it learns, and what must not disturb it."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.checks import check
from src.config import (
    AdamConfig,
    Config,
    ConstantConfig,
    DataConfig,
    ModelConfig,
    PlateauConfig,
    SgdConfig,
    TrackingConfig,
)
from src.errors import Diverged
from src.lab.learning.best import Best
from src.lab.learning.training import make_batches, train
from src.lab.model.sampling import sample
from src.lab.model.scoring import validation_loss
from src.lab.model.weights import Model
from src.rnn.cells import CELLS
from src.rnn.initialisation import initialise
from src.rnn.parameters import Architecture, Array
from src.rnn.schedules import Plateau
from src.text.batches import Streams, Windows
from src.text.corpus import Corpus, bounds_of
from src.text.normalisation import Normalisation
from src.text.vocabulary import Vocabulary

VERSE = "the sun is up and so am i, "
SPLIT = (0.8, 0.1, 0.1)
ADAM = AdamConfig("adam", weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8)
BASE = Config(
    outputs="unused",
    data_dir="unused",
    tracking=TrackingConfig("none", None, "unused", None),
    hidden=16,
    seq_len=10,
    lr=0.02,
    clip=5.0,
    clip_mode="norm",
    patience=None,
    min_delta=0.0,
    eval_every=20,
    eval_chars=None,
    temperature=0.7,
    temperatures=[0.7],
    prompt="the ",
    length=20,
    seed=1,
    batch_size=16,
    max_epochs=3,
    max_seconds=None,
    average=0.0,
    workers=1,
    batching="stream",
    state="carry",
    log_every=10,
    probe=False,
    skip_finished=False,
    objectives=["val/loss"],
    give_up=False,
    register=False,
    resume=None,
    init_from=None,
    on_divergence="stop",
    rollback_lr=0.5,
    max_rollbacks=3,
    rerun=None,
    data=DataConfig("file", "unused", False, False, False, "utf-8", list(SPLIT), 1, 10000),
    model=ModelConfig("rnn", 1, 0.0, "orthogonal", "tanh"),
    optimizer=ADAM,
    schedule=ConstantConfig("constant", 0),
)


def corpus_of(text: str) -> Corpus:
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    bounds = bounds_of(tokens.size, SPLIT)
    plain = Normalisation(False, False, False)
    return Corpus(Path("unused"), "verse", "0" * 64, vocabulary, plain, tokens, bounds)


CORPUS = corpus_of(VERSE * 110)
NOISE = corpus_of("".join("abcdef"[k] for k in np.random.default_rng(0).integers(6, size=3000)))


def unigram(corpus: Corpus) -> float:
    """Nats a character of the validation split by the frequencies of the training split."""
    count = np.bincount(corpus.split("train"), minlength=len(corpus.vocabulary))
    return float(-np.log(count[corpus.split("val")] / count.sum()).mean())


class Trained:
    """One training, everything that it reported, and the weights at each evaluation."""

    def __init__(
        self,
        corpus: Corpus = CORPUS,
        callback: Callable[[Architecture, Array], None] | None = None,
        **changes: Any,
    ) -> None:
        self.config = replace(BASE, **changes)
        check(self.config)
        model, rng = self.config.model, np.random.default_rng(self.config.seed)
        self.architecture = Architecture(
            len(corpus.vocabulary), self.config.hidden, model.name, model.layers, model.activation
        )
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.seen: dict[int, Array] = {}
        self.callback = callback
        self.outcome = train(self.config, self.architecture, corpus, rng, self.report, self.evaluated)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics.append((step, metrics))

    def evaluated(self, step: int, flat: Array) -> None:
        self.seen[step] = flat.copy()
        if self.callback:
            self.callback(self.architecture, flat)

    def curve(self, name: str) -> dict[int, float]:
        return {step: metrics[name] for step, metrics in self.metrics if name in metrics}

    @property
    def last(self) -> Array:
        """The weights behind the last step."""
        return self.seen[self.outcome.steps]


def model_config(
    kind: tuple[str, str] = ("rnn", "tanh"), layers: int = 1, dropout: float = 0.0
) -> ModelConfig:
    return ModelConfig(kind[0], layers, dropout, "orthogonal", kind[1])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_every_cell_learns_a_stream_with_the_state_carried(kind: tuple[str, str], layers: int) -> None:
    trained = Trained(model=model_config(kind, layers), max_epochs=5)
    losses = list(trained.curve("val/loss").values())
    assert trained.outcome.val_loss == min(losses) < 0.6 * unigram(CORPUS)
    assert trained.curve("train/loss")[10] > list(trained.curve("train/loss").values())[-1]
    kept = validation_loss(trained.architecture, trained.outcome.flat, CORPUS.split("val"))
    assert kept == trained.outcome.val_loss


@pytest.mark.parametrize(
    ("batching", "state"), [("windows", "reset"), ("stream", "reset"), ("windows", "carry")]
)
def test_other_ways_of_batching_learn_too(batching: str, state: str) -> None:
    trained = Trained(batching=batching, state=state, max_epochs=3 if batching == "stream" else 0.5)
    assert trained.outcome.val_loss < 0.8 * unigram(CORPUS)


def test_state_is_carried_only_where_the_config_says_so() -> None:
    carried, reset = (Trained(state=state, max_epochs=1) for state in ("carry", "reset"))
    assert carried.last.tobytes() != reset.last.tobytes()
    first = replace(BASE, log_every=1)
    begin = [
        Trained(state=state, max_epochs=1, log_every=first.log_every).curve("train/loss")
        for state in ("carry", "reset")
    ]
    assert begin[0][1] == begin[1][1]  # the first batch of an epoch begins from zero either way
    assert begin[0][2] != begin[1][2]


def test_batching_names_the_supply() -> None:
    rng = np.random.default_rng(0)
    assert isinstance(make_batches(BASE, CORPUS, rng), Streams)
    assert isinstance(make_batches(replace(BASE, batching="windows"), CORPUS, rng), Windows)


def write_and_score(architecture: Architecture, flat: Array) -> None:
    """What a callback may do: sample and score, with all of NumPy's global random numbers."""
    model = Model(architecture, flat, CORPUS.vocabulary, CORPUS.normalisation)
    np.random.seed(len("".join(sample(model, "the ", 0.7, 30, np.random.default_rng(9)))))  # noqa: NPY002
    validation_loss(architecture, flat, CORPUS.split("val"))


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("kind", list(CELLS), ids="-".join)
def test_evaluating_and_sampling_leave_no_trace(kind: tuple[str, str], average: float) -> None:
    """However often one looks, and whatever one does there, the weights behind the last step are the same
    to the bit. (With the state carried and dropout on, so that both could be disturbed.)"""
    changes: dict[str, Any] = {"model": model_config(kind, 2, 0.3), "average": average, "max_epochs": 1.5}
    rare = Trained(**changes, eval_every=10_000)
    often = Trained(**changes, eval_every=3, log_every=1, callback=write_and_score)
    assert len(rare.seen) == 1
    assert len(often.seen) > 5
    assert often.outcome.steps == rare.outcome.steps
    assert often.last.tobytes() == rare.last.tobytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_training_with_dropout_repeats_to_the_bit(workers: int) -> None:
    def trained(seed: int) -> bytes:
        model = model_config(("lstm", "tanh"), 2, 0.3)
        return Trained(model=model, workers=workers, max_epochs=1, seed=seed).last.tobytes()

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_dropout_is_used_in_training_and_not_in_evaluation() -> None:
    plain, dropped = (Trained(model=model_config(layers=2, dropout=d), max_epochs=1) for d in (0.0, 0.5))
    assert plain.last.tobytes() != dropped.last.tobytes()
    for step, flat in dropped.seen.items():
        expected = validation_loss(dropped.architecture, flat, CORPUS.split("val"))
        assert dropped.curve("val/loss")[step] == expected


@pytest.mark.parametrize("max_epochs", [0.5, 1, 2.25])
def test_training_ends_after_max_epochs_and_evaluates_the_last_step(max_epochs: float) -> None:
    trained = Trained(max_epochs=max_epochs, eval_every=7)
    per_epoch = make_batches(BASE, CORPUS, np.random.default_rng(0)).steps_per_epoch
    outcome = trained.outcome
    assert outcome.ended == "max_epochs"
    assert outcome.steps == math.ceil(max_epochs * per_epoch)
    assert outcome.epochs == outcome.steps / per_epoch
    assert set(trained.seen) == {*range(7, outcome.steps + 1, 7), outcome.steps}
    assert max(trained.curve("train/loss")) == outcome.steps


def test_early_stopping_waits_for_patience_evaluations() -> None:
    """Noise teaches nothing but the frequencies: soon the validation loss only rises."""
    trained = Trained(NOISE, max_epochs=200, patience=3, eval_every=5)
    losses = list(trained.curve("val/loss").values())
    assert trained.outcome.ended == "early stopping"
    assert trained.outcome.steps == 5 * len(losses)
    assert min(losses) == losses[-4]
    assert all(loss > losses[-4] for loss in losses[-3:])


def test_improvement_below_min_delta_counts_as_none() -> None:
    trained = Trained(max_epochs=50, patience=2, min_delta=100.0, eval_every=5)
    assert trained.outcome.ended == "early stopping"
    assert trained.outcome.steps == 15  # the first counts, whatever it is
    assert trained.outcome.best_step == 15  # but the lowest is kept


def test_max_seconds_ends_training() -> None:
    trained = Trained(max_epochs=10_000, max_seconds=0.2)
    assert trained.outcome.ended == "max_seconds"
    assert 0.2 <= trained.outcome.seconds < 5


def test_best_keeps_the_lowest_and_a_copy() -> None:
    flat = np.zeros(2, np.float32)
    best = Best(flat)
    observed = []
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.95, 1.85, 1.99], start=1):
        flat[:] = step
        observed.append((best.observe(loss, flat, step, 0.1), best.waited, best.step))
    expected = [(True, 0, 1), (True, 0, 2), (False, 1, 2), (False, 2, 4), (True, 0, 5), (False, 1, 5)]
    assert observed == expected
    assert best.loss == 1.85
    assert best.flat.tolist() == [5, 5]


def test_best_of_a_loss_that_is_no_number_is_what_was() -> None:
    best = Best(np.zeros(1))
    best.observe(2.0, np.ones(1), 1, 0.0)
    assert not best.observe(math.nan, np.full(1, 9.0), 2, 0.0)
    assert (best.loss, best.step, best.flat.tolist()) == (2.0, 1, [1.0])


def test_kept_weights_are_those_of_the_lowest_evaluation() -> None:
    trained = Trained(NOISE, max_epochs=10, eval_every=5)
    losses = trained.curve("val/loss")
    best = min(losses, key=lambda step: losses[step])
    assert trained.outcome.best_step == best < trained.outcome.steps
    assert trained.outcome.flat.tobytes() == trained.seen[best].tobytes()


def test_plateau_lowers_the_learning_rate_when_nothing_improves(monkeypatch: pytest.MonkeyPatch) -> None:
    observed = []

    class Watched(Plateau):
        def observe(self, improved: bool) -> None:
            observed.append(improved)
            super().observe(improved)

    monkeypatch.setattr("src.rnn.schedules.Plateau", Watched)
    schedule = PlateauConfig("plateau", 0, factor=0.5, patience=2, least=0.2)
    trained = Trained(NOISE, max_epochs=8, eval_every=5, log_every=1, schedule=schedule)
    lr, losses = trained.curve("lr"), list(trained.curve("val/loss").values())
    expected, lowest = [], math.inf
    for loss in losses:
        expected.append(loss < lowest)
        lowest = min(lowest, loss)
    assert observed == expected[: len(observed)]
    assert len(expected) - len(observed) <= 1  # after the last step there is nobody to tell
    assert {round(value / BASE.lr, 6) for value in lr.values()} == {1.0, 0.5, 0.25, 0.2}
    assert sorted(lr.values(), reverse=True) == list(lr.values())


@pytest.mark.parametrize("mode", ["norm", "value"])
def test_share_of_clipped_steps_is_reported(mode: str) -> None:
    shares = {}
    for clip in (1e-6, 1e6, None, 0.05 if mode == "value" else 0.5):
        shares[clip] = list(Trained(clip=clip, clip_mode=mode, max_epochs=2).curve("grad/clipped").values())
    assert set(shares[1e-6]) == {1.0}
    assert set(shares[1e6]) == set(shares[None]) == {0.0}
    between = next(values for clip, values in shares.items() if clip in (0.05, 0.5))
    assert all(0 <= share <= 1 for share in between)
    assert 0 < np.mean(between) < 1


@pytest.mark.parametrize(("mode", "order"), [("norm", 2), ("value", np.inf)])
def test_clipped_step_is_as_long_as_allowed(mode: str, order: float) -> None:
    """One step of plain gradient descent from weights that are known."""
    trained = Trained(
        clip=0.01, clip_mode=mode, optimizer=SgdConfig("sgd", weight_decay=0.0), lr=1.0, max_epochs=1e-6
    )
    assert trained.outcome.steps == 1
    begin = initialise(trained.architecture, "orthogonal", np.random.default_rng(BASE.seed))
    assert np.linalg.norm(trained.last - begin, order) == pytest.approx(0.01, rel=1e-4)


def test_weight_decay_shrinks_matrices_and_leaves_biases() -> None:
    sgd = SgdConfig("sgd", weight_decay=0.0)
    plain, decayed = (
        Trained(optimizer=o, lr=0.1, max_epochs=1e-6, model=model_config(("gru", "tanh"), 2))
        for o in (sgd, replace(sgd, weight_decay=0.5))
    )
    begin = initialise(plain.architecture, "orthogonal", np.random.default_rng(BASE.seed))
    from src.rnn.parameters import named_views

    views = [named_views(plain.architecture, flat) for flat in (plain.last, decayed.last, begin)]
    for name, without in views[0].items():
        share = 0.05 if name[0] == "w" else 0.0
        np.testing.assert_allclose(views[1][name], without - share * views[2][name], atol=1e-6, err_msg=name)


def test_divergence_is_reported_with_its_step() -> None:
    with pytest.raises(Diverged, match="lr: expected training to stay finite"):
        Trained(model=model_config(("rnn", "relu"), 2), optimizer=SgdConfig("sgd", 0.0), lr=1e6, clip=None)


def test_evaluations_read_what_eval_chars_allows() -> None:
    verse = corpus_of("".join("abcdef"[k] for k in np.random.default_rng(0).integers(6, size=30_000)))
    assert verse.split("val").size > 2100
    trained = Trained(verse, max_epochs=0.1, eval_chars=320)
    curve = trained.curve("val/loss")
    for step, flat in trained.seen.items():
        bounded = validation_loss(trained.architecture, flat, verse.split("val"), 320)
        assert curve[step] == bounded != validation_loss(trained.architecture, flat, verse.split("val"))
