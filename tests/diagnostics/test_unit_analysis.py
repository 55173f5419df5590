"""Features of a text, their correlation with units, and the ranking of units."""

import numpy as np
import pytest

from src.diagnostics.unit_analysis import Feature, collect_activations, correlations, features, rank_units
from src.rnn.cells import CELLS
from src.rnn.parameters import RNNConfig, initialize
from src.rnn.step import Stepper
from tests.network_error import Bounds
from tests.rounding import DOUBLE, FUNCTION, UNIT, contractive, gamma, softmax_error

TEXT = "The old man's sea\nis Blue, and so am I; " * 12
KINDS = pytest.mark.parametrize("kind", list(CELLS), ids="-".join)


def values_of(text: str) -> dict[str, Feature]:
    return {feature.name: feature for feature in features(text)}


def test_features_of_text() -> None:
    found = values_of(TEXT)
    begin = slice(0, 21)  # "The old man's sea\nis "
    expected = {
        "inside a word": "111011101111101110110",
        "distance to the word's start": "123 123 12345 123 12 ",
        "last letter of a word": "001 001 00001 001 01 ",
        "vowel, not consonant": "001 100 010 0 011 10 ",
        "capital, not small letter": "100 000 000 0 000 00 ",
        "distance to the line's start": None,
    }
    assert found.keys() == expected.keys()
    for name, marks in expected.items():
        feature = found[name]
        assert feature.values.shape == feature.where.shape == (len(TEXT),)
        if marks is None:
            assert feature.values[begin].tolist() == [*range(1, 18), 0, 1, 2, 3]
            assert feature.where.all()
            continue
        marked = zip(feature.values[begin], feature.where[begin], strict=True)
        assert "".join(str(int(value)) if counts else " " for value, counts in marked) == marks, name


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("all in one line " * 20, {"distance to the line's start", "capital, not small letter"}),
        ("\u05d0\u05d1 \u05d2\u05d3\u05d4 " * 30, {"vowel, not consonant", "distance to the line's start"}),
        ("0123456789 " * 30, {"inside a word", "vowel, not consonant"}),
        ("too short", {"inside a word", "vowel, not consonant"}),
        ("", {"inside a word"}),
    ],
)
def test_features_absent_from_text_are_omitted(text: str, missing: set[str]) -> None:
    assert not missing & values_of(text).keys()


def test_accented_vowels_are_vowels() -> None:
    vowels = values_of("é à ü b c ñ " * 20)["vowel, not consonant"]
    assert vowels.values[[0, 2, 4, 6, 8, 10]].tolist() == [1, 1, 1, 0, 0, 0]


def test_correlation_is_pearson_over_mask() -> None:
    rng = np.random.default_rng(0)
    values, where = rng.random(50), rng.random(50) < 0.6
    activations = rng.standard_normal((4, 50)).astype(np.float32)
    activations[1] = -3 * values + 2
    activations[2] = np.where(where, 0.25, activations[2])  # constant within the mask
    r = correlations(activations, Feature("x", values, where))
    expected = np.corrcoef(activations[0, where], values[where])[0, 1]
    # float64: sums of 50 differences from the mean
    spread = abs(activations).max() / activations[:2, where].std(axis=1).min()
    bounds = 4 * gamma(50, DOUBLE) * float(1 + spread) ** 2
    assert r[0] == pytest.approx(expected, rel=0, abs=bounds)
    # the row is rounded to float32, which 1 - r cannot resolve
    assert r[1] == pytest.approx(-1, rel=0, abs=bounds)
    assert r[2] == 0
    assert abs(r).max() <= 1 + 1e-12


def test_units_are_ranked_by_best_feature() -> None:
    by_name = values_of(TEXT)
    activations = 0.1 * np.random.default_rng(0).standard_normal((4, len(TEXT)))
    activations[2] -= by_name["inside a word"].values
    activations[1] += 0.05 * by_name["vowel, not consonant"].values
    units = rank_units(activations, features(TEXT), hidden=2)
    assert [(row, unit.layer, unit.number, unit.feature) for row, unit in units[:2]] == [
        (2, 2, 0, "inside a word"), (1, 1, 1, "vowel, not consonant"),
    ]  # fmt: skip
    assert units[0][1].r < -0.9
    assert [unit.r**2 for _, unit in units] == sorted((unit.r**2 for _, unit in units), reverse=True)


def test_units_without_features_keep_order() -> None:
    units = rank_units(np.ones((4, 9)), [], hidden=2)
    assert [(row, unit.layer, unit.number, unit.feature) for row, unit in units] == [
        (0, 1, 0, ""), (1, 1, 1, ""), (2, 2, 0, ""), (3, 2, 1, ""),
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [1, 2])
@KINDS
def test_activations_equal_step_by_step_reading(
    kind: tuple[str, str], layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is read in several chunks."""
    monkeypatch.setattr("src.diagnostics.unit_analysis.CHUNK", 40)
    architecture = RNNConfig(6, 5, kind[0], layers, kind[1])
    rng = np.random.default_rng(0)
    drawn = initialize(architecture, "orthogonal", rng) + rng.normal(0, 0.1, architecture.size())
    flat = contractive(architecture, drawn.astype(np.float32), 0.3)
    ids = rng.integers(6, size=100)
    activations, probabilities = collect_activations(architecture, flat, ids)
    assert activations.shape == (5 * layers, 100)
    assert probabilities.shape == (100, 6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=softmax_error(6))
    bounds = Bounds.of(architecture, flat, ids[:, None], unit=UNIT)  # of each of the two computations
    state_error = bounds.activation + 2 * FUNCTION * UNIT  # the slope of the LSTM's tanh(c) is at most 1
    stepper = Stepper(architecture, flat, 1)
    for k, character in enumerate(ids):
        logits = stepper.step(np.array([character]))[0]
        states = stepper.state[:, 1, 0] if kind[0] == "lstm" else stepper.state[:, 0, 0]
        shown_states = np.tanh(states) if kind[0] == "lstm" else states
        np.testing.assert_allclose(activations[:, k], shown_states.ravel(), rtol=0, atol=2 * state_error)
        p = np.exp(logits - logits.max())
        np.testing.assert_allclose(probabilities[k], p / p.sum(), rtol=0, atol=2 * bounds.probability)
