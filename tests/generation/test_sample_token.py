"""Sampling of one character: temperature, top_k, top_p, and the resulting distribution."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.generation.sampling import filter_top_k_top_p, sample_token
from src.rnn.parameters import Array

COARSEST, FINEST = 0.0, 1 - 2**-53  # range of Generator.random
GRID = (np.arange(10_000) + 0.5) / 10_000  # equally spaced uniform numbers
STEP = 1.001e-4  # resolution of the grid


def shares(logits: Sequence[float] | Array, temperature: float = 1.0, **filters: Any) -> Array:
    """Return the frequency of each id."""
    many = np.broadcast_to(np.asarray(logits, dtype=float), (GRID.size, len(logits)))
    return np.bincount(sample_token(many, temperature, GRID, **filters), minlength=len(logits)) / GRID.size


def softmax(logits: Sequence[float] | Array, temperature: float = 1.0) -> Array:
    p: Array = np.exp((np.asarray(logits) - np.max(logits)) / temperature)
    p /= p.sum()
    return p


@pytest.mark.parametrize("uniform", [COARSEST, 0.5, FINEST])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_temperature_is_argmax(uniform: float, dtype: type[np.floating]) -> None:
    for temperature in (5e-324, 1e-300, 1e-3, 0.0):
        assert sample_token(np.array([-80.0, 3.0, 2.0, -90.0], dtype), temperature, uniform) == 1


def test_extreme_logits_and_temperatures_do_not_overflow() -> None:
    """Impossible characters are not sampled, and the logits stay the same."""
    logits = np.array([-1e5, 1e4, -1e4, 1e4, -1e5])
    before = logits.tolist()
    assert sample_token(logits, 1.0, COARSEST) == 1
    assert sample_token(logits, 1.0, FINEST) == 3
    assert sample_token(logits, 1e300, 0.5) == 2
    assert logits.tolist() == before


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("top_k", [None, 1, 2, 3, 5, 99])
def test_top_k_keeps_proportions(temperature: float, top_k: int | None) -> None:
    logits = np.array([0.5, -1.0, 2.0, 0.0, 1.0])
    expected = softmax(logits, temperature)
    if top_k:
        expected[np.argsort(-logits)[top_k:]] = 0
    found = shares(logits, temperature, top_k=top_k)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=0, atol=STEP)


@pytest.mark.parametrize(
    ("p", "temperature", "filters", "kept"),
    [
        ([0.7, 0.1, 0.1, 0.1], 1.0, {"top_p": 0.6}, [0]),
        ([0.7, 0.1, 0.1, 0.1], 5.0, {"top_p": 0.6}, [0, 1, 2]),  # after the temperature
        ([0.4, 0.3, 0.2, 0.1], 1.0, {"top_p": 0.57}, [0, 1]),
        ([0.4, 0.3, 0.2, 0.1], 1.0, {"top_p": 0.57, "top_k": 2}, [0]),  # after top_k: 0.4 of 0.7
        ([0.1, 0.3, 0.3, 0.3], 1.0, {"top_k": 2}, [1, 2]),  # ties keep the first ids
        ([0.1] * 10, 1.0, {"top_p": 0.25}, [0, 1, 2]),
    ],
)
def test_filters_keep_most_likely_ids(
    p: list[float], temperature: float, filters: dict[str, Any], kept: list[int]
) -> None:
    assert np.flatnonzero(shares(np.log(p), temperature, **filters)).tolist() == kept


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 0.7, 1e300])
def test_single_candidate_is_argmax_at_every_temperature(temperature: float) -> None:
    """At 1e300 all exponentials are equal; the order of the logits decides."""
    logits = np.array([0.0, 3.0, 3.0 + 1e-9, 1.0])
    for filters in ({"top_k": 1}, {"top_p": 1e-12}, {"top_k": 1, "top_p": 1.0}):
        for uniform in (COARSEST, 0.5, FINEST):
            assert sample_token(logits, temperature, uniform, **filters) == 2


@pytest.mark.parametrize("filters", [{"top_k": 27}, {"top_p": 1.0}, {"top_k": 99, "top_p": 1.0}])
def test_filter_that_keeps_all_changes_nothing(filters: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = 5 * rng.standard_normal((2000, 27)), rng.random(2000)
    chosen = sample_token(logits, 0.7, uniforms, **filters)
    assert chosen.tolist() == sample_token(logits, 0.7, uniforms).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_filtered_independently(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = rng.standard_normal((50, 27)).astype(dtype), rng.random(50)
    together = sample_token(logits, 0.7, uniforms, 5, 0.8)
    alone = [int(sample_token(logits[k], 0.7, uniforms[k], 5, 0.8)) for k in range(50)]
    assert together.tolist() == alone


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=30),
    st.floats(0.05, 10),
    st.integers(1, 40),
    st.floats(1e-6, 1),
)
def test_filter_keeps_smallest_sufficient_set(
    logits: list[float], temperature: float, top_k: int, top_p: float
) -> None:
    p = softmax(logits, temperature)
    left = p.copy()
    filter_top_k_top_p(left, np.array(logits), top_k, top_p)
    kept = np.flatnonzero(left)
    assert 1 <= kept.size <= top_k
    assert (left[kept] == p[kept]).all()
    ranked = sorted(range(p.size), key=lambda k: (-logits[k], k))
    assert set(kept) == set(ranked[: kept.size])  # most likely ids; ties keep the first
    total = p[ranked[:top_k]].sum()
    assert p[ranked[: kept.size]].sum() >= top_p * total * (1 - 1e-12) or kept.size == np.count_nonzero(p)
    assert p[ranked[: kept.size - 1]].sum() <= top_p * total * (1 + 1e-12)
