"""Text metrics compared with plain Python: longest copy, known words, repetition."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.corpus import Corpus, CorpusConfig, prepare
from src.data.normalization import Normalization
from src.evaluation.suffix_array import longest_copy, suffix_array
from src.evaluation.text_quality import LEGEND, TextQuality, metrics_table, temperature_metrics
from src.models.serialization import TrainedModel
from src.plots.run import plot_quality
from src.rnn.parameters import RNNConfig, initialize
from tests.rounding import DOUBLE, contractive, gamma
from tests.sample_corpus import single_chunk

SMALL = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def ids(numbers: list[int], dtype: Any = np.uint8) -> Any:
    return np.array(numbers, dtype)


@settings(deadline=None, max_examples=50)
@given(SMALL, st.sampled_from([1, 100]), st.sampled_from([np.uint8, np.uint16]))
@example([1, 0, 2, 1, 0, 2], 32767, np.uint16)
def test_suffix_array_is_sorted(text: list[int], scale: int, dtype: Any) -> None:
    tokens = ids([scale * character for character in text], dtype)
    suffixes = suffix_array(tokens)
    assert suffixes.tolist() == sorted(range(len(text)), key=lambda i: text[i:])
    assert longest_copy(tokens, suffixes, tokens) == (len(text), 0)


@settings(deadline=None, max_examples=50)
@given(SMALL, st.lists(st.integers(0, 3), max_size=40))
def test_longest_copy_is_longest_common_substring(text: list[int], passage: list[int]) -> None:
    whole, part = bytes(text), bytes(passage)
    copies = [
        (end - i, -i) for i in range(len(part)) for end in range(i + 1, len(part) + 1) if part[i:end] in whole
    ]
    longest, first = max(copies, default=(0, 0))
    tokens = ids(text)
    assert longest_copy(tokens, suffix_array(tokens), ids(passage)) == (longest, -first)


@pytest.mark.slow
def test_suffix_array_takes_bounded_time() -> None:
    """Relative to the time of sorting as many numbers."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, 60, size=(5000, 5))
    text = words[np.minimum(rng.zipf(1.3, 100_000), 5000) - 1].reshape(-1).astype(np.uint8)
    start = time.process_time()
    np.sort(rng.integers(0, 2**63, text.size), kind="stable")
    sort = time.process_time() - start
    start = time.process_time()
    suffixes = suffix_array(text)
    assert (time.process_time() - start) / sort < 100
    start = time.process_time()
    length, position = longest_copy(text, suffixes, text[400_000:401_000])
    assert (time.process_time() - start) / sort < 5
    assert (length, position) == (1000, 0)


TEXT = "the rain in spain stays mainly in the plain and the king of spain is plainly vain. " * 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    config = CorpusConfig("own", "utf-8", Normalization(True, False, False), (0.8, 0.1, 0.1))
    return prepare(single_chunk(TEXT.encode()), config, 5, tmp_path_factory.mktemp("data"))[0]


def test_text_metrics(corpus: Corpus) -> None:
    metrics = TextQuality(corpus).compute("the ", "rain in rain in rain in rain th", 0.7)
    # whole words: rain in rain in rain in rain; "th" is cut by the text's end
    assert metrics.known_words == 1
    assert metrics.distinct_1 == 2 / 7
    assert metrics.distinct_2 == 2 / 6
    assert metrics.repetition == pytest.approx(1 - 2 / 4, rel=gamma(2, DOUBLE))
    assert (metrics.longest_match, metrics.matched_text) == (9, " rain in ")
    assert metrics.source == "temperature 0.7"


def test_known_words(corpus: Corpus) -> None:
    """A word that the prompt starts is not counted."""
    quality = TextQuality(corpus)
    metrics = quality.compute("", "spain plimsy king vainly. ", None)
    assert (metrics.known_words, metrics.source) == (2 / 4, "test split")
    assert quality.compute("The pla", "yy rain in ", 1).known_words == 1
    assert quality.compute("The ", "yy rain in ", 1).known_words == 2 / 3


@pytest.mark.parametrize("text", ["", ". .", "ain"])
def test_text_without_whole_word_has_no_known_words(text: str, corpus: Corpus) -> None:
    metrics = TextQuality(corpus).compute("the ", text, 1)
    assert metrics.known_words is None
    assert metrics.repetition is None
    assert set(metrics.metrics()) == ({"longest_match"} if text else set())
    assert "known" not in metrics.describe()


@settings(deadline=None, max_examples=40)
@given(st.text("then aispy.", max_size=80))
def test_matched_text_is_in_both_texts(corpus: Corpus, text: str) -> None:
    metrics = TextQuality(corpus).compute("", text, 1)
    train = corpus.vocabulary.decode(corpus.split("train"))
    assert len(metrics.matched_text) == metrics.longest_match
    assert metrics.matched_text in train
    assert metrics.matched_text in text
    for share in (metrics.known_words, metrics.distinct_1, metrics.distinct_2, metrics.repetition):
        assert share is None or 0 <= share <= 1


def test_temperature_metrics_include_test_split(corpus: Corpus, tmp_path: Path) -> None:
    architecture = RNNConfig(vocab=len(corpus.vocabulary), hidden=8)
    drawn = 3 * initialize(architecture, "orthogonal", np.random.default_rng(1), np.float32)
    flat = contractive(architecture, drawn)
    model = TrainedModel(architecture, flat, corpus.vocabulary, corpus.normalization)
    quality = TextQuality(corpus)
    rows = temperature_metrics(model, quality, "The ", [0.0, 0.5, 2.0], 80, seed=3)
    assert rows == temperature_metrics(model, quality, "The ", [0.0, 0.5, 2.0], 80, seed=3)
    assert [(row.temperature, row.characters) for row in rows] == [(t, 80) for t in (0.0, 0.5, 2.0, None)]
    assert rows[-1].longest_match == 80  # the test split repeats the training text
    lines = metrics_table(rows).splitlines()
    assert "texts of 80 characters" in lines[0]
    sources = [row.source for row in rows]
    assert [line.split("  ")[0] for line in lines[2:6]] == sources
    assert [line.split()[-1] for line in lines[2:6]] == [str(row.longest_match) for row in rows]
    assert [line.strip().split("  ")[0] for line in lines[8 + len(LEGEND) :]] == sources
    assert "..." in lines[-1]
    assert max(map(len, lines)) <= 80
    with pytest.raises(UserError, match="prompt: expected only"):
        temperature_metrics(model, quality, "42", [1.0], 10, seed=1)
    plot_quality(rows, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 5000
