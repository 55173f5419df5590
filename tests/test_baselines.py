from math import log2

import numpy as np
import pytest

from src.lab.baselines import baselines, ngram, uniform

TRAIN = np.array([0, 1, 0, 1, 1], np.uint8)  # "babaa" over an alphabet of three, whose 2 never comes


def tokens(*ids):
    return np.array(ids, np.uint8)


def test_uniform_is_log2_v():
    assert uniform(8) == 3


def test_unigram_by_hand():
    # 0 comes 2 times of 5, 1 three times, 2 never; add one to each
    expected = -(log2(3 / 8) + log2(1 / 8) + log2(4 / 8)) / 3
    assert ngram(TRAIN, tokens(0, 2, 1), 3, order=1) == pytest.approx(expected, rel=1e-14)


def test_bigram_by_hand():
    # pairs: 01 twice, 10 once, 11 once; 0 is a context twice, 1 twice, 2 never
    expected = -(log2((2 + 1) / (2 + 3)) + log2((0 + 1) / (2 + 3)) + log2((0 + 1) / (0 + 3))) / 3
    assert ngram(TRAIN, tokens(0, 1, 2, 0), 3, order=2) == pytest.approx(expected, rel=1e-14)


def test_trigram_by_hand():
    # triples: 010, 101, 011; scored are 011 (its context 01 comes twice) and 112 (its context 11 never)
    expected = -(log2((1 + 1) / (2 + 3)) + log2((0 + 1) / (0 + 3))) / 2
    assert ngram(TRAIN, tokens(0, 1, 1, 2), 3, order=3) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("context", [(), (0,), (1,), (2,), (0, 1), (1, 1), (2, 2)])
def test_probabilities_sum_to_one_after_every_context(context):
    order = len(context) + 1
    bits = [ngram(TRAIN, tokens(*context, c), 3, order) for c in range(3)]
    assert sum(2**-b for b in bits) == pytest.approx(1, rel=1e-14)


def test_large_ids_of_a_byte_text_do_not_overflow():
    train = np.array([254, 255] * 10, np.uint8)
    expected = -log2((10 + 1) / (10 + 256))  # 254 is a context ten times, always before 255
    assert ngram(train, tokens(254, 255), 256, order=2) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("vocabulary", "names"),
    [
        (27, ["uniform", "unigram", "bigram", "trigram"]),
        (300, ["uniform", "unigram", "bigram"]),
        (5000, ["uniform", "unigram"]),
    ],
)
def test_only_tables_that_stay_small_are_made(vocabulary, names):
    train = np.arange(20, dtype=np.uint16)
    assert list(baselines(train, train, vocabulary)) == names


def test_each_name_stands_for_its_order():
    scores = baselines(TRAIN, TRAIN, 3)
    expected = {"uniform": log2(3)}
    expected |= {
        name: ngram(TRAIN, TRAIN, 3, k) for k, name in enumerate(("unigram", "bigram", "trigram"), 1)
    }
    assert scores == expected
    assert len(set(scores.values())) == 4


def test_text_too_short_for_an_order_goes_without_it():
    assert list(baselines(TRAIN, tokens(0, 1), 3)) == ["uniform", "unigram", "bigram"]
