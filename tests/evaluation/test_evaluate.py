"""Predictions, groups of predictions and calibration."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.config.schema import DataConfig
from src.data.corpus import Corpus, CorpusConfig, load_corpus, prepare
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.evaluate import evaluate
from src.evaluation.error_analysis import (
    BINS,
    LossGroup,
    by_character,
    by_window_position,
    by_word_position,
    expected_calibration_error,
    reliability,
)
from src.evaluation.evaluate import LEGEND, Evaluation, evaluate_network
from src.evaluation.scoring import Predictions, Score, predict_stateful, predict_stateless
from src.evaluation.text_quality import TextQuality
from src.models.serialization import TrainedModel
from src.plots.run import plot_loss_by_position, plot_reliability
from src.rnn.parameters import Array, RNNConfig, initialize
from tests.rounding import DOUBLE, FUNCTION, UNIT, contractive, gamma, loss_error
from tests.sample_corpus import single_chunk
from tests.small_training import BASE

LINE = "the rain, in spain: stays mainly!\n"


def network(vocab: int) -> tuple[RNNConfig, Array]:
    architecture = RNNConfig(vocab=vocab, hidden=8)
    flat = 3 * initialize(architecture, "orthogonal", np.random.default_rng(1), np.float32)
    return architecture, contractive(architecture, flat)


def text(count: int) -> Any:
    return np.random.default_rng(2).integers(0, 6, count).astype(np.uint8)


@pytest.mark.parametrize(("count", "seq_len"), [(300, 7), (301, 7), (20, 50), (2, 1), (400, 200)])
def test_predictions_are_in_text_order_and_match_score(count: int, seq_len: int) -> None:
    """Both ways to read a window are within `loss_error` of the exact losses."""
    architecture, flat = network(6)
    tokens = text(count)
    stateful = predict_stateful(architecture, flat, tokens)
    stateless = predict_stateless(architecture, flat, tokens, seq_len)
    for p in (stateful, stateless):
        assert (p.loss.shape, p.hits.shape, p.confidence.shape) == ((count - 1,),) * 3
        assert [a.dtype.name for a in (p.loss, p.hits, p.confidence)] == ["float32", "bool", "float32"]
        assert p.loss.mean(dtype=np.float64) == pytest.approx(p.score.loss, rel=gamma(count, DOUBLE))
        assert p.hits.mean() == p.score.accuracy
        exps = 4 * FUNCTION * UNIT  # two exp in float32
        assert (p.confidence >= np.exp(-p.loss) * (1 - exps)).all()
        assert np.exp(-p.loss)[p.hits] == pytest.approx(p.confidence[p.hits], rel=exps)
    bound = loss_error(architecture, flat)
    assert bound < 1e-3, "the bound is too large for a comparison"
    for start in range(0, count - 1, seq_len):  # each window separately
        window_tokens = tokens[start : start + seq_len + 1]
        window = predict_stateful(architecture, flat, window_tokens).loss
        exact = predict_stateful(architecture, flat.astype(np.float64), window_tokens).loss
        for found in (stateless.loss[start : start + seq_len], window):
            np.testing.assert_allclose(found, exact, rtol=UNIT, atol=bound)  # nats are stored in float32


def test_grouped_windows_keep_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """All computations are in float64."""
    architecture, weights = network(6)
    flat, tokens = weights.astype(np.float64), text(1003)
    single_group = predict_stateless(architecture, flat, tokens, 20)
    monkeypatch.setattr("src.evaluation.scoring.MAX_BUFFER_ELEMENTS", 8 * 20 * 7)  # seven windows at once
    groups = predict_stateless(architecture, flat, tokens, 20)
    bound = 2 * loss_error(architecture, flat, DOUBLE)
    np.testing.assert_allclose(groups.loss, single_group.loss, rtol=UNIT, atol=bound)
    assert groups.hits.tolist() == single_group.hits.tolist()
    assert groups.score.accuracy == single_group.score.accuracy
    assert groups.score.loss == pytest.approx(single_group.score.loss, rel=gamma(2004, DOUBLE), abs=bound)


def mean(groups: list[LossGroup]) -> float:
    return sum(g.count * g.bpc for g in groups) / sum(g.count for g in groups)


@settings(deadline=None, max_examples=25)
@given(st.text("ab c,é1\n", min_size=2, max_size=60), st.integers(1, 70))
def test_groups_sum_to_total(text_string: str, seq_len: int) -> None:
    vocabulary = Vocabulary.of(text_string)
    tokens = vocabulary.encode(text_string)
    n = tokens.size - 1
    rng = np.random.default_rng(0)
    nats, hits = rng.exponential(size=n).astype(np.float32), rng.random(n) < 0.5
    p = Predictions(Score("stateful", float(nats.mean()), float(hits.mean()), n), nats, hits, nats)
    # float64 sums on both sides, a division and a product per group
    bound = 2 * gamma(n + 6, DOUBLE)
    for groups in (
        by_window_position(p, seq_len),
        by_character(p, tokens, vocabulary),
        by_word_position(p, tokens, vocabulary),
    ):
        assert sum(g.count for g in groups) == n
        assert mean(groups) == pytest.approx(nats.mean(dtype=np.float64) / np.log(2), rel=bound)
        assert sum(g.count * g.accuracy for g in groups) == pytest.approx(hits.sum(), rel=bound)


def test_groups_by_position() -> None:
    vocabulary = Vocabulary.of("ab, élan x")
    tokens = vocabulary.encode("ab, élan x")
    nats = np.arange(1, 10, dtype=np.float32) * np.float32(np.log(2))  # 1 bit for the b, 9 for the x
    p = Predictions(Score("stateful", 0, 0, 9), nats, np.zeros(9, bool), nats)

    def bits(groups: list[LossGroup]) -> dict[str, tuple[int, float]]:
        return {g.name: (g.count, round(g.bpc, 4)) for g in groups}

    words = {"non-letter": (3, 4.3333), "1": (2, 6.5), "2": (2, 3), "3": (1, 6), "4": (1, 7)}
    assert bits(by_word_position(p, tokens, vocabulary)) == words
    assert bits(by_window_position(p, 4)) == {"1": (3, 5), "2": (2, 4), "3": (2, 5), "4": (2, 6)}
    characters = bits(by_character(p, tokens, vocabulary))
    assert (characters[" "], characters["x"]) == ((2, 5.5), (1, 9))


def test_long_words_share_last_group() -> None:
    nats = np.ones(29, np.float32)
    p = Predictions(Score("stateful", 1, 0, 29), nats, np.zeros(29, bool), nats)
    groups = by_word_position(p, np.zeros(30, np.uint8), Vocabulary("ab"))
    assert {g.name: g.count for g in groups} == {str(k): 1 for k in range(2, 13)} | {"13+": 18}


def test_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.05, 1, 200_000).astype(np.float32)
    calibrated = reliability(confidence, rng.random(confidence.size) < confidence)
    assert expected_calibration_error(calibrated) < 0.006
    assert len(calibrated) == BINS
    hits = np.arange(1000) % 10 < 6
    (only,) = reliability(np.full(1000, 0.9), hits)
    assert (only.count, only.accuracy) == (1000, 0.6)
    assert expected_calibration_error([only]) == pytest.approx(0.3, rel=gamma(1000, DOUBLE))
    # the second half has confidence 0.5 and accuracy 1
    mixed = reliability(np.repeat([0.9, 0.5], 500), hits | (np.arange(1000) >= 500))
    assert expected_calibration_error(mixed) == pytest.approx((0.3 + 0.5) / 2, rel=gamma(1000, DOUBLE))


def test_bins_include_upper_edge() -> None:
    edges = np.arange(1, BINS + 1) / BINS
    bins = reliability(np.array([0.0, *edges]), np.ones(BINS + 1, bool))
    assert [b.count for b in bins] == [2] + [1] * (BINS - 1)
    assert all(b.low <= b.confidence <= b.high for b in bins)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = CorpusConfig("own", "utf-8", Normalization(False, False, False), (0.8, 0.1, 0.1))
    return prepare(single_chunk((LINE * 60).encode()), made, 5, tmp_path_factory.mktemp("data"))[0]


@pytest.fixture(scope="module")
def evaluation(corpus: Corpus) -> Evaluation:
    architecture, flat = network(len(corpus.vocabulary))
    return evaluate_network(architecture, flat, corpus, 5, np.random.default_rng(0))


def test_evaluation_is_consistent(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics()
    bound = 2 * gamma(evaluation.stateful.characters + 6, DOUBLE)  # float64 sums of the same nats
    for prefix in ("test", "test_stateless"):
        assert metrics[f"{prefix}/bpc_ci_low"] < metrics[f"{prefix}/bpc"] < metrics[f"{prefix}/bpc_ci_high"]
    assert mean(evaluation.by_window) == pytest.approx(metrics["test_stateless/bpc"], rel=bound)
    for groups in (evaluation.by_character, evaluation.by_word):
        assert mean(groups) == pytest.approx(metrics["test/bpc"], rel=bound)
    lead = metrics["test/bpc"] - min(metrics[f"test/ngram{k}_bpc"] for k in range(2, 9))
    # bits are stored in float32
    assert metrics["test/bpc_minus_ngram"] == pytest.approx(lead, rel=0, abs=UNIT * metrics["test/bpc"])
    assert metrics["test/bpc_minus_ngram_ci_low"] < lead < metrics["test/bpc_minus_ngram_ci_high"]
    right = sum(b.count * b.accuracy for b in evaluation.bins) / evaluation.stateful.characters
    assert right == pytest.approx(metrics["test/accuracy"], rel=bound)
    assert metrics["test/ece"] == expected_calibration_error(evaluation.bins)
    assert metrics["test/ngram8_bpc"] < 0.3  # the text repeats one line
    assert all(isinstance(value, float) for value in metrics.values())


def test_bounded_scores_use_first_characters(corpus: Corpus, evaluation: Evaluation) -> None:
    architecture, flat = network(len(corpus.vocabulary))

    def run_evaluation(of: Corpus, most: int | None = None) -> Evaluation:
        return evaluate_network(architecture, flat, of, 5, np.random.default_rng(0), most)

    start, stop = corpus.bounds["test"]
    n, windows = stop - start - 1, "stateless: windows of 5"
    assert evaluation.table().splitlines()[0] == f"{n} characters of the test split; {windows}"
    assert run_evaluation(corpus, n).metrics() == evaluation.metrics()
    bounded = run_evaluation(corpus, 100)
    assert bounded.table().splitlines()[0] == f"the first 100 of {n} characters of the test split; {windows}"
    shorter = replace(corpus, bounds={**corpus.bounds, "test": (start, start + 101)})
    assert bounded.metrics() == run_evaluation(shorter).metrics()


def test_run_is_scored_on_its_corpus(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(LINE * 60, encoding="utf-8")
    data = DataConfig("file", str(path), False, False, False, "utf-8", [0.6, 0.2, 0.2], 1, 10_000)
    corpus, _ = load_corpus(data, 5, tmp_path)
    model = TrainedModel(*network(len(corpus.vocabulary)), corpus.vocabulary, corpus.normalization)
    config = attrs.evolve(BASE, seq_len=5, data=data, max_eval_chars=100)
    evaluation, _ = evaluate("an id", model, config, tmp_path)
    assert (evaluation.stateful.characters, evaluation.n_total) == (100, corpus.split("test").size - 1)
    path.write_text("another text. " * 100, encoding="utf-8")
    with pytest.raises(UserError, match=r"^run: expected the corpus that run an id was trained on, got "):
        evaluate("an id", model, config, tmp_path)


def test_tables_show_metrics(evaluation: Evaluation) -> None:
    metrics = evaluation.metrics()
    ends = f"[{metrics['test/bpc_ci_low']:.3f}, {metrics['test/bpc_ci_high']:.3f}]"
    for table in (evaluation.table(), evaluation.table(full=True)):
        (line,) = [line for line in table.splitlines() if line.startswith("network, stateful")]
        assert f"{metrics['test/bpc']:.4f}  {ends}" in line
        assert f"{metrics['test/ece']:.1%}" in table
        assert max(map(len, table.splitlines())) <= 80
        assert "reference text" not in table
    full, short = evaluation.table(full=True), evaluation.table()
    for name in ("uniform", "unigram", *(f"{k}-gram" for k in range(2, 9)), "gzip", "bzip2", "xz"):
        assert f"\n{name}" in full
    for part in ("best n-gram: ", "best compressor: ", f"{metrics['test/bpc_minus_ngram_ci_low']:.3f}, "):
        assert part in short
    assert len(short.splitlines()) == 9 + len(LEGEND)
    for word in ("nats", "bits", "n-gram", "uniform", "stateful", "stateless", "perplexity", "accuracy",
                 "calibration error", "confidence"):  # fmt: skip
        assert word in short.replace("\n".join(LEGEND), "")
        assert word in "\n".join(LEGEND)
    huge = replace(evaluation, stateful=replace(evaluation.stateful, loss=300.0)).table()
    assert "1.9e+130" in huge
    assert max(map(len, huge.splitlines())) <= 80


@pytest.mark.parametrize("most", [1, 7])
def test_bounded_reference_text_is_reported(
    most: int, corpus: Corpus, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = corpus.split("train").size
    assert (evaluation.n_reference, evaluation.n_train) == (train, train)
    monkeypatch.setattr("src.evaluation.baselines.MAX_REFERENCE_CHARS", 1000)
    architecture, flat = network(len(corpus.vocabulary))
    some = evaluate_network(architecture, flat, corpus, 5, np.random.default_rng(0), most)
    line = f"reference text: the last 1,000 of {train:,} training characters"
    assert line in some.table().splitlines()
    assert line in some.table(full=True).splitlines()
    assert (some.n_reference, some.n_train) == (1000, train)
    assert TextQuality(corpus).tokens.tobytes() == corpus.split("train")[-1000:].tobytes()
    assert all(np.isfinite(value) for value in some.metrics().values())


def test_report_and_figures_are_written(evaluation: Evaluation, tmp_path: Path) -> None:
    report = json.loads(json.dumps(evaluation.report([])))
    assert report["stateful"]["loss"] == evaluation.stateful.loss
    assert len(report["by_window"]) == 5
    assert {row["name"] for row in report["by_character"]} <= set(LINE)
    plot_reliability(evaluation.bins, tmp_path / "a.png")
    plot_loss_by_position(evaluation, tmp_path / "b.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("a.png", "b.png"))
