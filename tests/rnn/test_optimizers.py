"""Update rules compared with the published formulas in plain Python, clipping, and weight averaging."""

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
import pytest

from src.rnn.optimizers import (
    BLOCK_ELEMENTS,
    SGD,
    Adagrad,
    Adam,
    Momentum,
    Optimizer,
    RMSprop,
    clip_norm,
    clip_value,
    decay_weights,
    ema_update,
    global_norm,
)
from src.rnn.parameters import Array
from tests.cell_example import DTYPES
from tests.rounding import DOUBLE, UNIT, gamma

Rule = Callable[[float, list[float]], Iterator[float]]  # w and the gradients give w after each step

W, G, LR = [0.5, -2.0], [[0.3, -0.1], [-0.2, 0.4], [0.25, 0.05]], 0.1  # two weights, three steps
# Three steps of at most 4 (plain) or 10 (adaptive) roundings on both sides, in sums of at least
# a half (plain) or a quarter (adaptive) of their terms.
PLAIN, ADAPTIVE, SINGLE = 2 * gamma(2 * 12, DOUBLE), 4 * gamma(2 * 30, DOUBLE), 4 * gamma(30, UNIT)
DEBIASED = 4 * DOUBLE / (1 - 0.999)  # 1 - 0.999^k on both sides: cancellation by a factor of 1000
EPS = 1e-3  # large, so that the place of eps in the formula matters


def sgd(w: float, gradients: list[float]) -> Iterator[float]:
    for g in gradients:
        w -= LR * g
        yield w


def momentum(w: float, gradients: list[float]) -> Iterator[float]:
    u = 0.0
    for g in gradients:
        u = 0.9 * u + g
        w -= LR * u
        yield w


def nesterov(w: float, gradients: list[float]) -> Iterator[float]:
    u = 0.0
    for g in gradients:
        u = 0.9 * u + g
        w -= LR * (g + 0.9 * u)
        yield w


def adagrad(w: float, gradients: list[float]) -> Iterator[float]:
    s = 0.0
    for g in gradients:
        s += g**2
        w -= LR * g / (sqrt(s) + EPS)
        yield w


def rmsprop(w: float, gradients: list[float]) -> Iterator[float]:
    s = 0.0
    for g in gradients:
        s = 0.95 * s + 0.05 * g**2
        w -= LR * g / (sqrt(s) + EPS)
        yield w


def adam(w: float, gradients: list[float]) -> Iterator[float]:
    m, v = 0.0, 0.0
    for k, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w -= LR * (m / (1 - 0.9**k)) / (sqrt(v / (1 - 0.999**k)) + EPS)
        yield w


RULES: list[tuple[Optimizer, Rule, float]] = [
    (SGD(), sgd, PLAIN),
    (Momentum(0.9, nesterov=False), momentum, PLAIN),
    (Momentum(0.9, nesterov=True), nesterov, PLAIN),
    (Adagrad(EPS), adagrad, ADAPTIVE),
    (RMSprop(0.95, EPS), rmsprop, ADAPTIVE),
    (Adam(0.9, 0.999, EPS), adam, ADAPTIVE + DEBIASED),
]


@pytest.mark.parametrize(("optimizer", "rule", "tolerance"), RULES, ids=lambda value: str(value)[:12])
def test_update_rule(optimizer: Optimizer, rule: Rule, tolerance: float) -> None:
    """The state is not in the optimizer: a second training run takes the same steps."""
    expected = np.array([list(rule(w, [g[k] for g in G])) for k, w in enumerate(W)]).T
    precisions: list[tuple[type[np.floating], float]] = [(np.float64, tolerance), (np.float32, SINGLE)]
    for dtype, rtol in [*precisions, *precisions]:
        w, steps = np.array(W, dtype), []
        state = optimizer.state(w)
        for g in G:
            optimizer.update(state, w, np.array(g, dtype), LR)
            steps.append(w.copy())
        np.testing.assert_allclose(np.array(steps), expected, rtol=rtol)
        assert w.dtype == dtype
        step = state.pop("step", np.array(3))
        assert step == 3
        assert step.dtype == np.int64
        assert all(array.dtype == dtype for array in state.values())


def test_blocked_adam_matches_single_elements() -> None:
    """Three blocks; the last one is short."""
    size = 2 * BLOCK_ELEMENTS + 3
    rng, adam = np.random.default_rng(0), Adam(0.9, 0.999, EPS)
    initial, gradients = rng.standard_normal(size), rng.standard_normal((2, size))

    def after_two_steps(elements: slice) -> Array:
        w = initial[elements].copy()
        state = adam.state(w)
        for g in gradients:
            adam.update(state, w, g[elements].copy(), LR)
        return w

    whole = after_two_steps(slice(None))
    for k in (0, BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, 2 * BLOCK_ELEMENTS - 1, 2 * BLOCK_ELEMENTS, size - 1):
        bound = 2 * gamma(20, DOUBLE) * float(abs(initial[k]) + 2 * LR)  # two steps of at most 10 roundings
        assert whole[k] == pytest.approx(after_two_steps(slice(k, k + 1))[0], rel=0, abs=bound)
    assert not (whole == initial).any()


def test_weight_decay_is_in_place() -> None:
    a, b = np.array([[2.0, -4.0]], np.float32), np.array([[1.0]], np.float32)
    decay_weights([a, b], 0.25)
    assert a.tolist() == [[1.5, -3.0]]
    assert b.tolist() == [[0.75]]
    assert a.dtype == np.float32


@pytest.mark.parametrize(("step", "d"), [(1, 2 / 11), (79, 80 / 89), (80, 0.9), (81, 0.9), (10**6, 0.9)])
def test_ema_decay_is_limited_by_ramp(step: int, d: float) -> None:
    average, w = np.array([1.0, 1.0], np.float32), np.array([3.0, 1.0], np.float32)
    ema_update(average, w, 0.9, step)
    assert average.dtype == np.float32
    assert average.tolist() == pytest.approx([d * 1.0 + (1 - d) * 3.0, 1.0], rel=gamma(8, UNIT))
    assert w.tolist() == [3.0, 1.0]


@DTYPES
def test_global_norm(dtype: type[np.floating]) -> None:
    assert global_norm(np.array([2, -3, 6], dtype)) == 7  # exact: no sum is rounded
    assert global_norm(np.zeros(5, dtype)) == 0


@pytest.mark.parametrize(("limit", "after"), [(2.5, [1.5, -2.0]), (5.0, [3.0, -4.0]), (5.1, [3.0, -4.0])])
def test_clip_norm_scales_to_limit(limit: float, after: list[float]) -> None:
    g = np.array([3.0, -4.0], np.float32)
    assert clip_norm(g, global_norm(g), limit) is (limit < 5)
    assert g.tolist() == after


@pytest.mark.parametrize(
    ("before", "after", "clipped"),
    [
        ([3.0, -0.5, 1.0], [1.0, -0.5, 1.0], True),
        ([0.5, -3.0, 0.0], [0.5, -1.0, 0.0], True),
        ([1.0, -1.0, 0.25], [1.0, -1.0, 0.25], False),
    ],
)
def test_clip_value_limits_each_element(before: list[float], after: list[float], clipped: bool) -> None:
    g = np.array(before, np.float32)
    assert clip_value(g, 1.0) is clipped
    assert g.tolist() == after
