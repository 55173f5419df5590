"""The scored part of a split, and the corpus of a config."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from src.common.errors import UserError
from src.config.schema import DataConfig
from src.data.corpus import Corpus, load_corpus
from src.evaluate import evaluate
from src.evaluation.evaluate import Evaluation, evaluate_network
from src.models.serialization import TrainedModel
from src.rnn.parameters import Array, RNNConfig
from tests.small_training import BASE

TEXT = "The rain in Spain stays mainly in the plain.\n" * 100


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    path = str(tmp_path / "text.txt")
    return DataConfig("file", path, False, False, False, "utf-8", [0.6, 0.2, 0.2], 1, 10_000)


def network(corpus: Corpus) -> tuple[RNNConfig, Array]:
    architecture = RNNConfig(len(corpus.vocabulary), 8)
    rng = np.random.default_rng(0)
    return architecture, rng.standard_normal(architecture.size()).astype(np.float32)


def test_bounded_scores_use_first_characters(data: DataConfig, tmp_path: Path) -> None:
    corpus, _ = load_corpus(data, 5, tmp_path)
    architecture, flat = network(corpus)

    def run_evaluation(of: Corpus, most: int | None = None) -> Evaluation:
        return evaluate_network(architecture, flat, of, 5, np.random.default_rng(0), most)

    whole = run_evaluation(corpus)
    windows = "stateless: windows of 5"
    assert whole.table().splitlines()[0] == f"899 characters of the test split; {windows}"
    assert run_evaluation(corpus, 899).metrics() == whole.metrics()
    bounded = run_evaluation(corpus, 300)
    assert bounded.table().splitlines()[0] == f"the first 300 of 899 characters of the test split; {windows}"
    start, _ = corpus.bounds["test"]
    shorter = replace(corpus, bounds={**corpus.bounds, "test": (start, start + 301)})
    assert bounded.metrics() == run_evaluation(shorter).metrics()


def test_run_is_scored_on_its_corpus(data: DataConfig, tmp_path: Path) -> None:
    corpus, _ = load_corpus(data, 5, tmp_path)
    architecture, flat = network(corpus)
    model = TrainedModel(architecture, flat, corpus.vocabulary, corpus.normalization)
    config = attrs.evolve(BASE, seq_len=5, data=data, max_eval_chars=300)
    evaluation, _ = evaluate("an id", model, config, tmp_path)
    assert (evaluation.stateful.characters, evaluation.n_total) == (300, 899)
    (tmp_path / "text.txt").write_text("another text. " * 100, encoding="utf-8")
    with pytest.raises(UserError, match=r"^run: expected the corpus that run an id was trained on, got "):
        evaluate("an id", model, config, tmp_path)


def test_bytes_encoding_accepts_any_file(data: DataConfig, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 4 + b"\r\n\xef\xbb\xbf" * 40
    (tmp_path / "text.txt").write_bytes(raw)
    corpus, _ = load_corpus(attrs.evolve(data, encoding="bytes"), 5, tmp_path)
    assert len(corpus.vocabulary) == 256
    assert corpus.tokens.tobytes() == raw


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "bytes", "lowercase": True}, r"^data\.encoding: expected a text encoding with .*"),
        ({"encoding": "bytes", "letters_only": True}, r"^data\.encoding: expected a text encoding with .*"),
        ({"max_vocabulary": 12}, r"^data\.max_vocabulary: expected at most 12 distinct .* got 17"),
    ],
)
def test_invalid_corpus_config_is_rejected(
    changes: dict[str, Any], message: str, data: DataConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        load_corpus(attrs.evolve(data, **changes), 5, tmp_path)
    assert not list(tmp_path.glob("file*"))
