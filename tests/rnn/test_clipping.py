import numpy as np
import pytest

from src.rnn.optimizers import clip_norm, clip_value, global_norm


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norm_by_hand(dtype: type[np.floating]) -> None:
    assert global_norm(np.array([2, -3, 6], dtype)) == 7  # of 49, and no sum is rounded


def test_norm_of_nothing_is_zero() -> None:
    assert global_norm(np.zeros(5)) == 0


def test_clipping_by_norm_scales_to_the_limit_and_keeps_the_direction() -> None:
    g = np.array([3.0, -4.0])
    assert clip_norm(g, global_norm(g), 2.5) is True
    assert g.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("limit", [5.0, 5.1])
def test_clipping_by_norm_leaves_what_does_not_exceed_the_limit(limit: float) -> None:
    g = np.array([3.0, -4.0])
    assert clip_norm(g, global_norm(g), limit) is False
    assert g.tolist() == [3.0, -4.0]


@pytest.mark.parametrize(
    ("before", "after", "clipped"),
    [
        ([3.0, -0.5, 1.0], [1.0, -0.5, 1.0], True),
        ([0.5, -3.0, 0.0], [0.5, -1.0, 0.0], True),
        ([1.0, -1.0, 0.25], [1.0, -1.0, 0.25], False),
    ],
)
def test_clipping_by_value_cuts_each_element(before: list[float], after: list[float], clipped: bool) -> None:
    g = np.array(before)
    assert clip_value(g, 1.0) is clipped
    assert g.tolist() == after


def test_both_ways_keep_single_precision() -> None:
    g = np.full(4, 10, np.float32)
    clip_value(g, 2.0)
    clip_norm(g, global_norm(g), 1.0)
    assert g.dtype == np.float32
    assert global_norm(g) == 1  # of four halves
