from math import exp, log

import numpy as np
import pytest

from src.rnn.loss import cross_entropy, cross_entropy_and_gradient, log_softmax
from src.rnn.network import Ids
from src.rnn.parameters import Array
from tests.rounding import DOUBLE, FUNCTION, UNIT, gamma, softmax_error

HUGE = 1e4  # exp(1e4) overflows even double precision
SOFTMAX = softmax_error(7, DOUBLE)


def random_logits(dtype: type[np.floating] = np.float64) -> tuple[Array, Ids]:
    rng = np.random.default_rng(0)
    return (3 * rng.standard_normal((7, 40))).astype(dtype), rng.integers(7, size=40)


def test_probabilities_sum_to_one() -> None:
    logits, _ = random_logits()
    np.testing.assert_allclose(np.exp(log_softmax(logits)).sum(axis=0), 1, rtol=0, atol=SOFTMAX)


def test_log_softmax_is_in_place() -> None:
    logits, _ = random_logits()
    assert log_softmax(logits) is logits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax_of_huge_logits_is_exact(dtype: type[np.floating]) -> None:
    logits = np.array([[HUGE, -HUGE, HUGE], [0, 0, HUGE]], dtype)
    expected = [[0, -HUGE, -log(2)], [-HUGE, 0, -log(2)]]
    unit = UNIT if dtype == np.float32 else DOUBLE  # only log(2) is rounded
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=2 * FUNCTION * unit)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_gradient_of_huge_logits_are_exact(dtype: type[np.floating]) -> None:
    logits = np.array([[HUGE, HUGE, -HUGE, -HUGE], [0, 0, -2 * HUGE, -HUGE]], dtype)
    expected = (HUGE + log(2)) / 4
    bound = gamma(2 * FUNCTION + 8, UNIT if dtype == np.float32 else DOUBLE)  # log(2) and a sum of 8
    assert cross_entropy_and_gradient(logits, np.array([0, 1, 0, 1])) == pytest.approx(expected, rel=bound)
    assert logits.tolist() == [[0, 0.25, 0, 0.125], [0, -0.25, 0, -0.125]]


def test_loss_is_mean_negative_log_probability() -> None:
    logits = np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 3.0]])  # two predictions over three characters
    p_first = exp(2.0) / (exp(1.0) + exp(2.0) + exp(0.5))  # its target is character 1
    p_second = exp(0.0) / (exp(0.0) + exp(0.0) + exp(3.0))  # its target is character 0
    expected = -(log(p_first) + log(p_second)) / 2
    targets = np.array([1, 0])
    bound = 2 * softmax_error(3, DOUBLE)  # both sides; the loss is above 1, so the bound is also relative
    assert float(cross_entropy(logits.copy(), targets)) == pytest.approx(expected, rel=bound)
    assert float(cross_entropy_and_gradient(logits, targets)) == pytest.approx(expected, rel=bound)


def test_loss_gradient_is_probability_minus_one_hot() -> None:
    logits = np.log([[0.1, 0.2], [0.6, 0.5], [0.3, 0.3]])
    cross_entropy_and_gradient(logits, np.array([1, 2]))
    expected = [[0.1 / 2, 0.2 / 2], [(0.6 - 1) / 2, 0.5 / 2], [0.3 / 2, (0.3 - 1) / 2]]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=softmax_error(3, DOUBLE) / 2)  # a mean of 2


def test_loss_gradient_sums_to_zero() -> None:
    logits, targets = random_logits()
    cross_entropy_and_gradient(logits, targets)
    assert abs(logits).max() > 1e-3
    # 40 predictions: 7 terms are summed twice, divided and subtracted
    np.testing.assert_allclose(logits.sum(axis=0), 0, atol=gamma(7 + 7 + 4, DOUBLE) / 40)


def test_loss_of_equal_logits() -> None:
    assert float(cross_entropy(np.zeros((27, 5)), np.arange(5))) == pytest.approx(
        log(27),
        rel=gamma(2 * FUNCTION + 6, DOUBLE),  # a log and a mean of 5
    )


def test_loss_is_shift_invariant() -> None:
    logits, targets = random_logits()
    plain = cross_entropy(logits.copy(), targets)
    bound = 2 * (SOFTMAX + gamma(40, DOUBLE) * float(plain)) + 2 * DOUBLE * float(abs(logits + 5.0).max())
    assert float(cross_entropy(logits + 5.0, targets)) == pytest.approx(float(plain), rel=0, abs=bound)


def test_parts_of_batch_add_up() -> None:
    """Data-parallel workers divide by the size of the whole batch."""
    logits, targets = random_logits()
    parts = [logits[:, :15].copy(), logits[:, 15:].copy()]
    loss = cross_entropy_and_gradient(logits, targets)
    shares = [
        cross_entropy_and_gradient(parts[0], targets[:15], denominator=40),
        cross_entropy_and_gradient(parts[1], targets[15:], denominator=40),
    ]
    assert float(sum(shares)) == pytest.approx(float(loss), rel=2 * gamma(40, DOUBLE))
    # exp on both sides, a sum of 7 and two divisions of numbers below 1 / 40
    np.testing.assert_allclose(
        np.hstack(parts), logits, rtol=0, atol=2 * gamma(2 * FUNCTION + 9, DOUBLE) / 40
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_keeps_dtype(dtype: type[np.floating]) -> None:
    logits, targets = random_logits(dtype)
    assert cross_entropy(logits.copy(), targets).dtype == dtype
    assert cross_entropy_and_gradient(logits, targets).dtype == dtype
