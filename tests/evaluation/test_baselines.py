"""Kneser-Ney compared with hand calculations and plain loops, compressors with direct calls; the cache."""

import bz2
import gzip
import json
import lzma
import time
from collections import Counter
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.corpus import Corpus, CorpusConfig, prepare
from src.data.normalization import Normalization
from src.evaluation.baselines import (
    XZ_MIN_DICTIONARY,
    baselines,
    best,
    best_ngram_losses,
    cached_baselines,
    compressed_bits,
    display_name,
    xz_compress,
)
from src.evaluation.ngram import ngram_losses, orders
from tests.rounding import DOUBLE, gamma
from tests.sample_corpus import single_chunk

# About 20 operations on both sides, and 2^-x of less than 8 bits.
BY_HAND = gamma(2 * 20 + 2 * 8 + 8, DOUBLE)
# 8 orders of 10 operations each; 1 - D is at least 1/40 for texts of 40 characters.
PLAIN_LOOP = 40 * gamma(2 * 8 * 10, DOUBLE)
ABA = np.array([0, 1, 0, 1, 1], np.uint8)  # five characters over an alphabet of three; id 2 never occurs
TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=40).map(lambda ids: np.array(ids, np.uint8))


def tokens(*ids: int) -> Any:
    return np.array(ids, np.uint8)


def probability(train: Any, context: list[int], c: int, vocabulary: int, order: int) -> float:
    """Return the n-gram probability of c after a context of order - 1 characters."""
    *_, (_, bits) = (of for of in ngram_losses(train, tokens(*context, c), vocabulary) if of[0] <= order)
    return float(2 ** -bits[-1])


def test_probabilities_by_hand() -> None:
    # unigram: 0 twice, 1 three times; n_1 = 0, so D = 1/2; two distinct, V = 3
    lower = 0.5 * 2 / 3
    expected = [(2 - 0.5 + lower) / 5, (3 - 0.5 + lower) / 5, lower / 5]
    assert [probability(ABA, [0], c, 3, 1) for c in range(3)] == pytest.approx(expected, rel=BY_HAND)
    # lower order: 0 follows one character, 1 follows two; n_1 = 1, n_2 = 1, D = 1/3
    q = [(1 - 1 / 3 + (1 / 3) * 2 / 3) / 3, (2 - 1 / 3 + (1 / 3) * 2 / 3) / 3, (1 / 3) * (2 / 3) / 3]
    # pairs: 01 twice, 10 once, 11 once: n_1 = 2, n_2 = 1, D = 2 / (2 + 2) = 1/2
    after_0 = [(0 + 0.5 * q[0]) / 2, (2 - 0.5 + 0.5 * q[1]) / 2, 0.5 * q[2] / 2]
    after_1 = [(1 - 0.5 + 0.5 * 2 * q[0]) / 2, (1 - 0.5 + 0.5 * 2 * q[1]) / 2, 0.5 * 2 * q[2] / 2]
    for context, expected in ((0, after_0), (1, after_1), (2, q)):  # 2 never occurs: the lower order
        found = [probability(ABA, [context], c, 3, 2) for c in range(3)]
        assert found == pytest.approx(expected, rel=BY_HAND)


def reference_probability(train: list[int], context: list[int], c: int, vocabulary: int, order: int) -> float:
    """Evaluate the equations with one dictionary per order."""

    def ngram_counts(k: int, top: bool) -> Counter[tuple[int, ...]]:
        if top:
            return Counter(tuple(train[i : i + k]) for i in range(len(train) - k + 1))
        return Counter(gram[1:] for gram in {tuple(train[i : i + k + 1]) for i in range(len(train) - k)})

    def p(k: int, top: bool) -> float:
        if k == 0:
            return 1 / vocabulary
        lower, counts = p(k - 1, False), ngram_counts(k, top)
        once, twice = (sum(n == few for n in counts.values()) for few in (1, 2))
        d = once / (once + 2 * twice) if once else 0.5
        h = tuple(context[len(context) - k + 1 :])
        following: dict[int, int] = {gram[-1]: n for gram, n in counts.items() if gram[:-1] == h}
        if not following:
            return lower
        return (max(following.get(c, 0) - d, 0) + d * len(following) * lower) / sum(following.values())

    return p(order, True)


@settings(deadline=None, max_examples=25)
@given(TEXTS, st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_probabilities_match_reference_and_sum_to_one(train: Any, context: list[int]) -> None:
    """All characters but the first are scored; a short context uses a lower order."""
    scored = [(tokens(*context, c), dict(ngram_losses(train, tokens(*context, c), 4))) for c in range(4)]
    for text, by_order in scored:
        assert list(by_order) == list(range(1, 9))
        for order, bits in by_order.items():
            expected = [
                reference_probability(train.tolist(), text[:i].tolist(), int(text[i]), 4, min(order, i + 1))
                for i in range(1, 4)
            ]
            assert 2**-bits == pytest.approx(expected, rel=PLAIN_LOOP)
    for order in range(1, 9):
        assert sum(2 ** -by_order[order][-1] for _, by_order in scored) == pytest.approx(1, rel=PLAIN_LOOP)


def test_large_byte_ids_do_not_overflow() -> None:
    train = np.array([254, 255] * 10, np.uint8)
    (*_, (last, bits)) = ngram_losses(train, train, 256)
    assert last == 8
    assert bits[-1] < 0.2  # the repeated character is nearly certain


def test_orders_are_limited_by_64_bits() -> None:
    assert [orders(v)[-1] for v in (2, 27, 256, 257, 5000, 65536)] == [8, 8, 8, 7, 5, 4]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_compressed_bits_match_standard_library(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 27, size=(40, 6))
    train, scored = (words[rng.integers(40, size=n)].reshape(-1).astype(dtype) for n in (1000, 200))
    before, both = train.tobytes(), train.tobytes() + scored.tobytes()

    def extra_bits(compress: Any) -> float:
        return 8 * (len(compress(both)) - len(compress(before))) / scored.size

    assert compressed_bits(train, scored) == {
        "gzip": extra_bits(lambda data: gzip.compress(data, 9, mtime=0)),
        "bzip2": extra_bits(lambda data: bz2.compress(data, 9)),
        "xz": extra_bits(lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
    }


def test_xz_round_trip() -> None:
    for size in (0, 1, XZ_MIN_DICTIONARY, XZ_MIN_DICTIONARY + 1):
        assert lzma.decompress(xz_compress(bytes(size))) == bytes(size)


def test_baseline_names() -> None:
    rng = np.random.default_rng(1)
    train = rng.integers(0, 3, 500).astype(np.uint8)
    found = baselines(train, train[:100], 3)
    names = ["unigram", *(f"ngram{k}" for k in range(2, 9))]
    assert list(found) == ["uniform", *names, "gzip", "bzip2", "xz"]
    assert found["uniform"] == log2(3)
    assert [found[name] for name in names] == [bits.mean() for _, bits in ngram_losses(train, train[:100], 3)]


def test_best_baselines_and_labels() -> None:
    """The uniform distribution is never the best."""
    bits = {
        "uniform": 1.0,
        "unigram": 3.0,
        "ngram2": 2.0,
        "ngram3": 2.5,
        "gzip": 1.5,
        "bzip2": 1.0,
        "xz": 1.2,
    }
    assert (best(bits, compressor=False), best(bits, compressor=True)) == ("ngram2", "bzip2")
    labels = [display_name(name) for name in ("uniform", "ngram5", "gzip")]
    assert labels == ["uniform", "5-gram", "gzip, window of 32 kB"]


def corpus(folder: Path) -> Corpus:
    text = " ".join(np.random.default_rng(2).choice(["the", "rain", "in", "spain", "stays"], 200))
    made = CorpusConfig("own", "utf-8", Normalization(False, False, False), (0.8, 0.1, 0.1))
    return prepare(single_chunk(text.encode()), made, 5, folder)[0]


def test_baselines_are_cached(tmp_path: Path) -> None:
    prepared = corpus(tmp_path)
    first = cached_baselines(prepared, prepared.split("test"))
    assert first == baselines(prepared.split("train"), prepared.split("test"), len(prepared.vocabulary))
    file = prepared.folder / "baselines.json"
    assert json.loads(file.read_text())["bpc"] == first
    changed = json.loads(file.read_text()) | {"bpc": {"uniform": 1.0}}
    file.write_text(json.dumps(changed))
    assert cached_baselines(prepared, prepared.split("test")) == {"uniform": 1.0}  # read from the cache
    for key in ("format", "n_reference", "n_scored"):  # of another version or text: computed again
        file.write_text(json.dumps(changed | {key: changed[key] - 1}))
        assert cached_baselines(prepared, prepared.split("test")) == first
        assert json.loads(file.read_text())["bpc"] == first


def test_baselines_of_bounded_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = corpus(tmp_path)
    train, scored = prepared.split("train"), prepared.split("test")
    of_all = cached_baselines(prepared, scored)
    of_start = cached_baselines(prepared, scored[:50])
    assert of_start == baselines(train, scored[:50], len(prepared.vocabulary)) != of_all
    monkeypatch.setattr("src.evaluation.baselines.MAX_REFERENCE_CHARS", 300)
    of_end = cached_baselines(prepared, scored)
    assert of_end == baselines(train[-300:], scored, len(prepared.vocabulary)) != of_all
    bits = best_ngram_losses(prepared, scored, of_end)
    assert bits.mean() == of_end[best(of_end, compressor=False)]


@pytest.mark.parametrize(
    "damaged",
    ["{", "[]", "{}", '{"format": 2}', '{"format": 2, "n_reference": 749, "n_scored": 94, "bpc": 3}'],
)
def test_damaged_cache_is_reported(damaged: str, tmp_path: Path) -> None:
    prepared = corpus(tmp_path)
    (prepared.folder / "baselines.json").write_text(damaged)
    with pytest.raises(UserError, match=r"data_dir: expected .* damaged ones in .*baselines\.json"):
        cached_baselines(prepared, prepared.split("test"))


@pytest.mark.slow
def test_ngram_losses_take_bounded_time() -> None:
    """Relative to the time of sorting as many numbers."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, 60, size=(5000, 5))
    text = words[np.minimum(rng.zipf(1.3, 100_000), 5000) - 1].reshape(-1).astype(np.uint8)
    start = time.process_time()
    np.sort(rng.integers(0, 2**63, text.size))
    sort = time.process_time() - start
    start = time.process_time()
    assert sum(1 for _ in ngram_losses(text[:450_000], text[450_000:], 60)) == 8
    assert (time.process_time() - start) / sort < 8 * 25
