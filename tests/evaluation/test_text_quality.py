"""Judged texts against plain Python: the longest copy, known words, repetition."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.corpus import Corpus, CorpusConfig, prepare
from src.data.normalization import Normalization
from src.evaluation.suffix_array import longest_copy, suffix_array
from src.evaluation.text_quality import TextQuality, metrics_table, temperature_metrics
from src.models.serialization import TrainedModel
from src.rnn.parameters import RNNConfig, initialize
from tests.rounding import DOUBLE, contractive, gamma

SMALL = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def ids(numbers: list[int], dtype: Any = np.uint8) -> Any:
    return np.array(numbers, dtype)


@settings(deadline=None)
@given(SMALL, st.sampled_from([np.uint8, np.uint16]))
def test_the_suffix_array_is_the_sorted_suffixes(text: list[int], dtype: Any) -> None:
    assert suffix_array(ids(text, dtype)).tolist() == sorted(range(len(text)), key=lambda i: text[i:])


@settings(deadline=None, max_examples=150)
@given(SMALL, st.lists(st.integers(0, 3), max_size=40))
def test_the_longest_copy_is_the_longest_common_substring(text: list[int], passage: list[int]) -> None:
    whole, part = bytes(text), bytes(passage)
    pieces = [(i, j) for i in range(len(part)) for j in range(i + 1, len(part) + 1) if part[i:j] in whole]
    longest = max((j - i for i, j in pieces), default=0)
    first = min((i for i, j in pieces if j - i == longest), default=0)
    tokens = ids(text)
    assert longest_copy(tokens, suffix_array(tokens), ids(passage)) == (longest, first)


@pytest.mark.parametrize("scale", [1, 100, 4000, 65535])
def test_any_size_of_ids(scale: int) -> None:
    rng = np.random.default_rng(0)
    text = (rng.integers(0, 2, 300) * scale).astype(np.uint16)
    suffixes = suffix_array(text)
    assert suffixes.tolist() == sorted(range(300), key=lambda i: text[i:].tolist())
    assert longest_copy(text, suffixes, text[40:140]) == (100, 0)


@pytest.mark.slow
def test_five_megabytes_are_indexed_in_some_sorts_and_searched_in_less_than_one() -> None:
    """Processor time against that of sorting as many numbers in the same process."""
    rng = np.random.default_rng(3)
    words = [rng.integers(0, 60, size=rng.integers(2, 9)) for _ in range(5000)]
    text = np.concatenate([words[k] for k in np.minimum(rng.zipf(1.3, 1_100_000), 5000) - 1])
    text = text.astype(np.uint8)[:5_000_000]
    begun = time.process_time()
    np.sort(rng.integers(0, 2**63, text.size), kind="stable")
    sort = time.process_time() - begun
    begun = time.process_time()
    suffixes = suffix_array(text)
    assert (time.process_time() - begun) / sort < 100
    written = rng.integers(0, 60, 2000).astype(np.uint8)
    written[500:1500] = text[4_000_000:4_001_000]
    begun = time.process_time()
    length, at = longest_copy(text, suffixes, written)
    assert (time.process_time() - begun) / sort < 5
    assert (length >= 1000, at <= 500) == (True, True)


TEXT = "the rain in spain stays mainly in the plain and the king of spain is plainly vain. " * 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = CorpusConfig("own", "utf-8", Normalization(True, False, False), (0.8, 0.1, 0.1))
    return prepare(lambda: [TEXT.encode()], made, 5, tmp_path_factory.mktemp("data"))[0]


def test_measures_by_hand(corpus: Corpus) -> None:
    found = TextQuality(corpus).compute("the ", "rain in rain in rain in rain th", 0.7)
    # whole words: rain in rain in rain in rain; "th" is cut by the text's end
    assert found.known_words == 1
    assert found.distinct_1 == 2 / 7
    assert found.distinct_2 == 2 / 6
    assert found.repetition == pytest.approx(1 - 2 / 4, rel=gamma(2, DOUBLE))
    assert (found.longest_match, found.matched_text) == (9, " rain in ")
    assert found.source == "temperature 0.7"


def test_words_that_it_made_up_count_against_it(corpus: Corpus) -> None:
    found = TextQuality(corpus).compute("", "spain plimsy king vainly. ", None)
    assert found.known_words == 2 / 4
    assert found.source == "test split"


def test_a_word_that_the_prompt_began_is_left_out(corpus: Corpus) -> None:
    judge = TextQuality(corpus)
    assert judge.compute("The pla", "yy rain in ", 1).known_words == 1
    assert judge.compute("The ", "yy rain in ", 1).known_words == 2 / 3


@pytest.mark.parametrize("text", ["", "x", ". .", "abc"])
def test_a_text_without_a_whole_word_has_no_share_of_them(text: str, corpus: Corpus) -> None:
    text = "".join(c for c in text if c in corpus.vocabulary.characters)
    found = TextQuality(corpus).compute("the ", text, 1)
    assert found.known_words is None
    assert found.repetition is None
    assert set(found.metrics()) == ({"longest_match"} if text else set())
    assert "known" not in found.describe()


@settings(deadline=None, max_examples=40)
@given(st.text("then aispy.", max_size=80))
def test_the_passage_is_in_both_texts(corpus: Corpus, text: str) -> None:
    text = "".join(c for c in text if c in corpus.vocabulary.characters)
    judge = TextQuality(corpus)
    found = judge.compute("", text, 1)
    train = corpus.vocabulary.decode(corpus.split("train"))
    assert len(found.matched_text) == found.longest_match
    assert found.matched_text in train
    assert found.matched_text in text
    for share in (found.known_words, found.distinct_1, found.distinct_2, found.repetition):
        assert share is None or 0 <= share <= 1


def test_temperatures_are_judged_beside_the_held_out_text(corpus: Corpus, tmp_path: Path) -> None:
    architecture = RNNConfig(vocab=len(corpus.vocabulary), hidden=8)
    drawn = 3 * initialize(architecture, "orthogonal", np.random.default_rng(1), np.float32)
    flat = contractive(architecture, drawn)
    model = TrainedModel(architecture, flat, corpus.vocabulary, corpus.normalization)
    judge = TextQuality(corpus)
    judged = temperature_metrics(model, judge, "The ", [0.0, 0.5, 2.0], 80, seed=3)
    assert judged == temperature_metrics(model, judge, "The ", [0.0, 0.5, 2.0], 80, seed=3)
    assert [j.temperature for j in judged] == [0.0, 0.5, 2.0, None]
    assert [j.characters for j in judged] == [80] * 4
    assert judged[-1].longest_match == 80  # the test split repeats the training text
    lines = metrics_table(judged).splitlines()
    assert "texts of 80 characters" in lines[0]
    sources = [j.source for j in judged]
    assert [line.split("  ")[0] for line in lines[2:6]] == sources
    assert [line.split()[-1] for line in lines[2:6]] == [str(j.longest_match) for j in judged]
    assert [line.strip().split("  ")[0] for line in lines[8:]] == sources
    assert "..." in lines[-1]
    assert max(map(len, lines)) <= 80
    with pytest.raises(UserError, match="prompt: expected only"):
        temperature_metrics(model, judge, "42", [1.0], 10, seed=1)

    from src.plots.run import plot_quality

    plot_quality(judged, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 5000
