"""The computed permutation is valid and statistically like a random shuffle."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.batches import ROUNDS, Ids, draw_keys, permutation_slice

KEYS = st.lists(st.integers(0, 2**32 - 1), min_size=ROUNDS, max_size=ROUNDS)
BILLION = 1_000_000_000


def orders(count: int, draws: int) -> Ids:
    """Return permutations of 0..count-1, one per row."""
    rng = np.random.default_rng(0)
    return np.array([permutation_slice(0, count, count, draw_keys(rng)) for _ in range(draws)])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), KEYS)
def test_slice_is_a_permutation(count: int, keys: list[int]) -> None:
    found = permutation_slice(0, count, count, keys)
    assert found.dtype == np.intp
    assert sorted(found.tolist()) == list(range(count))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2**40), KEYS, st.data())
def test_block_equals_its_single_elements(count: int, keys: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, count - 1))
    stop = min(count, start + data.draw(st.integers(1, 60)))
    block = permutation_slice(start, stop, count, keys)
    assert block.min() >= 0
    assert block.max() < count
    assert len(set(block.tolist())) == stop - start
    assert block.tolist() == [int(permutation_slice(k, k + 1, count, keys)[0]) for k in range(start, stop)]


def chi_squared(counts: Ids, expected: float) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("count", [2, 3, 4])
def test_small_permutations_are_uniform(count: int) -> None:
    every = list(permutations(range(count)))
    found = [tuple(row) for row in orders(count, 100 * len(every)).tolist()]
    counts, freedom = np.array([found.count(order) for order in every]), len(every) - 1
    assert chi_squared(counts, 100) < freedom + 5 * (2 * freedom) ** 0.5 + 5


def test_orders_of_thousand_are_random() -> None:
    """Tenths of positions and values are independent, neighbors are rare, and epochs are uncorrelated."""
    found = orders(1000, 300)
    counts = np.zeros((10, 10), np.intp)
    np.add.at(counts, (np.arange(1000) // 100, found // 100), 1)
    assert chi_squared(counts, 3000) < 81 + 5 * 162**0.5  # 9 by 9 degrees of freedom
    steps = np.diff(found, axis=1)
    for step in (-2, -1, 1, 2):  # one expected per permutation: Poisson
        assert abs((steps == step).sum() - 300) < 5 * 300**0.5
    assert abs((steps > 0).mean() - 0.5) < 5 / (12 * 999 * 300) ** 0.5 * 2
    assert abs((found == np.arange(1000)).sum() - 300) < 5 * 300**0.5
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(found)]
    assert abs(np.mean(correlations)) < 5 / (1000 * 299) ** 0.5
    assert np.std(correlations) == pytest.approx(1000**-0.5, rel=5 / (2 * 299) ** 0.5)  # standard errors


def test_changed_key_changes_order() -> None:
    keys = draw_keys(np.random.default_rng(0))
    for k in range(ROUNDS):
        other = [key ^ (j == k) for j, key in enumerate(keys)]
        same = permutation_slice(0, 1000, 10**6, keys) == permutation_slice(0, 1000, 10**6, other)
        assert same.mean() < 0.02


def test_positions_among_a_billion_are_uniform() -> None:
    found = permutation_slice(0, 100_000, BILLION, draw_keys(np.random.default_rng(0)))
    assert len(set(found.tolist())) == 100_000
    counts = np.bincount(found * 100 // BILLION, minlength=100)
    assert chi_squared(counts, 1000) < 99 + 5 * 198**0.5


def test_permutation_is_stable_across_releases() -> None:
    """`rerun=` needs the order of the original run."""
    keys = draw_keys(np.random.default_rng(7))
    assert keys[:2] == [4058335883, 2684764585]
    assert permutation_slice(0, 6, 10**6, keys).tolist() == [708964, 465655, 490517, 616329, 549941, 28749]
    assert permutation_slice(10**11, 10**11 + 2, 2**40, keys).tolist() == [384404693457, 852068282514]
    huge = [830460355114629199, 458352808747553499, 877012530631624343]  # where 64-bit floats are 128 apart
    assert permutation_slice(10**18, 10**18 + 3, 2**60, keys).tolist() == huge
    assert permutation_slice(0, 7, 7, keys).tolist() == [3, 2, 5, 0, 6, 1, 4]


def test_missing_key_is_rejected() -> None:
    """A missing key, as from a damaged checkpoint, must not give another order."""
    with pytest.raises(ValueError, match="shorter"):
        permutation_slice(0, 5, 5, draw_keys(np.random.default_rng(0))[:-1])
