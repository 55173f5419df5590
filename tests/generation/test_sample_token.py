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


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_sampled_share_is_softmax_over_temperature(temperature: float) -> None:
    logits = np.array([0.5, -1.0, 2.0, 0.0])
    share = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    uniforms = (np.arange(10_000) + 0.5) / 10_000
    chosen = np.bincount([sample_token(logits, temperature, u) for u in uniforms], minlength=4)
    np.testing.assert_allclose(chosen / 10_000, share, rtol=0, atol=1e-4)  # a grid of 10,000 numbers


@pytest.mark.parametrize("uniform", [COARSEST, 0.5, FINEST])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-3, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_temperature_is_argmax(uniform: float, temperature: float, dtype: type[np.floating]) -> None:
    assert sample_token(np.array([-80.0, 3.0, 2.0, -90.0], dtype), temperature, uniform) == 1


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_impossible_characters_are_not_sampled(uniform: float) -> None:
    assert sample_token(np.array([-1e5, 0.0, -1e5, 0.0, -1e5]), 1.0, uniform) in (1, 3)


@pytest.mark.parametrize("uniform", [COARSEST, FINEST])
def test_huge_logits_and_temperatures_do_not_overflow(uniform: float) -> None:
    logits = np.array([1e4, -1e4, 1e4])
    assert sample_token(logits, 1.0, uniform) == (0 if uniform == COARSEST else 2)
    assert sample_token(logits, 1e300, 0.5) == 1


def test_sampling_keeps_logits() -> None:
    logits = np.array([1.0, 2.0])
    sample_token(logits, 0.7, 0.5)
    assert logits.tolist() == [1, 2]


GRID = (np.arange(10_000) + 0.5) / 10_000  # equally spaced uniform numbers
STEP = 1.001e-4  # resolution of the grid


def shares(logits: Sequence[float] | Array, temperature: float = 1.0, **restrictions: Any) -> Array:
    """Return the frequency of each id."""
    many = np.broadcast_to(np.asarray(logits, dtype=float), (GRID.size, len(logits)))
    return (
        np.bincount(sample_token(many, temperature, GRID, **restrictions), minlength=len(logits)) / GRID.size
    )


def softmax(logits: Sequence[float] | Array, temperature: float = 1.0) -> Array:
    p: Array = np.exp((np.asarray(logits) - np.max(logits)) / temperature)
    p /= p.sum()
    return p


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 99])
def test_top_k_keeps_proportions(temperature: float, top_k: int) -> None:
    logits = np.array([0.5, -1.0, 2.0, 0.0, 1.0])
    expected = softmax(logits, temperature)
    expected[np.argsort(-logits)[top_k:]] = 0
    np.testing.assert_allclose(
        shares(logits, temperature, top_k=top_k), expected / expected.sum(), rtol=0, atol=STEP
    )


@pytest.mark.parametrize(
    ("top_p", "left"), [(1e-9, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.71, 3), (0.95, 4)]
)
def test_top_p_keeps_smallest_sufficient_set(top_p: float, left: int) -> None:
    p = np.array([0.1, 0.4, 0.2, 0.3])
    expected = np.where(np.isin(np.arange(4), [1, 3, 2, 0][:left]), p, 0)
    np.testing.assert_allclose(shares(np.log(p), top_p=top_p), expected / expected.sum(), rtol=0, atol=STEP)


def test_temperature_is_applied_before_top_p() -> None:
    """A flatter distribution has a larger nucleus."""
    p = np.log([0.7, 0.1, 0.1, 0.1])
    assert np.count_nonzero(shares(p, 1.0, top_p=0.6)) == 1
    assert np.count_nonzero(shares(p, 5.0, top_p=0.6)) == 3


def test_top_p_applies_after_top_k() -> None:
    p = np.log([0.4, 0.3, 0.2, 0.1])
    assert np.count_nonzero(shares(p, top_p=0.57)) == 2
    assert np.count_nonzero(shares(p, top_k=2, top_p=0.57)) == 1  # 0.4 of 0.7


def test_ties_keep_first_ids() -> None:
    assert np.flatnonzero(shares([1.0, 2.0, 2.0, 2.0], top_k=2)).tolist() == [1, 2]
    assert np.flatnonzero(shares([0.0] * 10, top_p=0.25)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 0.7, 1e300])
def test_single_candidate_is_argmax_at_every_temperature(temperature: float) -> None:
    """At 1e300 all exponentials are equal; the order of the logits decides."""
    logits = np.array([0.0, 3.0, 3.0 + 1e-9, 1.0])
    for restrictions in ({"top_k": 1}, {"top_p": 1e-12}, {"top_k": 1, "top_p": 1.0}):
        for uniform in (COARSEST, 0.5, FINEST):
            assert sample_token(logits, temperature, uniform, **restrictions) == 2


@pytest.mark.parametrize("restrictions", [{"top_k": 27}, {"top_p": 1.0}, {"top_k": 99, "top_p": 1.0}])
def test_filter_that_keeps_all_changes_nothing(restrictions: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    logits, uniforms = 5 * rng.standard_normal((2000, 27)), rng.random(2000)
    chosen = sample_token(logits, 0.7, uniforms, **restrictions)
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


@pytest.mark.parametrize(("top_k", "top_p"), [(None, None), (4, None), (None, 0.8), (6, 0.9)])
def test_samples_follow_filtered_distribution(top_k: int | None, top_p: float | None) -> None:
    """Chi-square test of 50,000 samples; a correct sampler fails once in 10,000."""
    rng = np.random.default_rng(1)
    logits = 2 * rng.standard_normal(12)
    p = softmax(logits, 0.8)
    order = np.argsort(-p)
    kept = order[:top_k]
    if top_p is not None:
        enough = np.searchsorted(np.cumsum(p[kept]) / p[kept].sum(), top_p) + 1
        kept = kept[:enough]
    drawn = sample_token(np.broadcast_to(logits, (50_000, 12)), 0.8, rng.random(50_000), top_k, top_p)
    counts = np.bincount(drawn, minlength=12)
    assert counts.sum() == counts[kept].sum()
    expected = 50_000 * p[kept] / p[kept].sum()
    degrees = kept.size - 1
    quantile = degrees * (1 - 2 / (9 * degrees) + 3.72 * np.sqrt(2 / (9 * degrees))) ** 3  # Wilson-Hilferty
    assert ((counts[kept] - expected) ** 2 / expected).sum() < quantile
