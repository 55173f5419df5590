from math import log

import numpy as np
import pytest

from src.rnn.loss import cross_entropy, cross_entropy_and_gradient, log_softmax
from src.rnn.network import Ids
from src.rnn.parameters import Array
from tests.cell_example import DTYPES
from tests.rounding import DOUBLE, FUNCTION, UNIT, gamma, softmax_error

HUGE = 1e4  # exp(1e4) overflows even double precision


def random_logits(dtype: type[np.floating] = np.float64) -> tuple[Array, Ids]:
    rng = np.random.default_rng(0)
    return (3 * rng.standard_normal((7, 40))).astype(dtype), rng.integers(7, size=40)


@DTYPES
def test_log_softmax_of_huge_logits_is_exact(dtype: type[np.floating]) -> None:
    logits = np.array([[HUGE, -HUGE, HUGE], [0, 0, HUGE]], dtype)
    expected = [[0, -HUGE, -log(2)], [-HUGE, 0, -log(2)]]
    unit = UNIT if dtype == np.float32 else DOUBLE  # only log(2) is rounded
    assert log_softmax(logits) is logits
    np.testing.assert_allclose(logits, expected, rtol=2 * FUNCTION * unit)


@DTYPES
def test_loss_and_gradient_of_huge_logits_are_exact(dtype: type[np.floating]) -> None:
    logits = np.array([[HUGE, HUGE, -HUGE, -HUGE], [0, 0, -2 * HUGE, -HUGE]], dtype)
    expected = (HUGE + log(2)) / 4
    bound = gamma(2 * FUNCTION + 8, UNIT if dtype == np.float32 else DOUBLE)  # log(2) and a sum of 8
    assert cross_entropy_and_gradient(logits, np.array([0, 1, 0, 1])) == pytest.approx(expected, rel=bound)
    assert logits.tolist() == [[0, 0.25, 0, 0.125], [0, -0.25, 0, -0.125]]


@DTYPES
def test_loss_and_gradient_match_definition(dtype: type[np.floating]) -> None:
    """The loss is -mean log p, the gradient (p - onehot) / N."""
    logits, targets = random_logits(dtype)
    exact, unit = logits.astype(np.float64), UNIT if dtype == np.float32 else DOUBLE
    p = np.exp(exact) / np.exp(exact).sum(axis=0)
    expected = -np.log(p[targets, np.arange(40)]).mean()
    # both sides, the mean of 40 logarithms, and the rounding of z - max
    bound = 2 * (softmax_error(7, unit) + gamma(40, unit) * expected + unit * float(abs(exact).max()))
    loss, of_both = cross_entropy(logits.copy(), targets), cross_entropy_and_gradient(logits, targets)
    assert {loss.dtype, of_both.dtype, logits.dtype} == {np.dtype(dtype)}
    assert float(loss) == pytest.approx(expected, rel=0, abs=bound)
    assert float(of_both) == pytest.approx(expected, rel=0, abs=bound)
    expected_gradient = (p - (np.arange(7)[:, None] == targets)) / 40
    np.testing.assert_allclose(logits, expected_gradient, rtol=0, atol=bound / 40)


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
