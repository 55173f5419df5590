"""Update rules compared with the published formulas in plain Python, clipping, and weight averaging."""

from collections.abc import Callable
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
from tests.rounding import DOUBLE, UNIT, gamma

Weights = tuple[float, float, float]
Rule = Callable[[float, list[float]], Weights]  # w and the gradients give w after each step

W, G, LR = [0.5, -2.0], [[0.3, -0.1], [-0.2, 0.4], [0.25, 0.05]], 0.1  # two weights, three steps
# Three steps of at most 4 (plain) or 10 (adaptive) roundings on both sides, in sums of at least
# a half (plain) or a quarter (adaptive) of their terms.
PLAIN, ADAPTIVE, SINGLE = 2 * gamma(2 * 12, DOUBLE), 4 * gamma(2 * 30, DOUBLE), 4 * gamma(30, UNIT)
DEBIASED = 4 * DOUBLE / (1 - 0.999)  # 1 - 0.999^k on both sides: cancellation by a factor of 1000
EPS = 1e-3  # large, so that the place of eps in the formula matters
ALL = [
    SGD(),
    Momentum(0.9, nesterov=False),
    Momentum(0.9, nesterov=True),
    Adagrad(1e-8),
    RMSprop(0.95, 1e-8),
    Adam(0.9, 0.999, 1e-8),
]


def optimizer_steps(optimizer: Optimizer, dtype: type[np.floating] = np.float64) -> Array:
    """Return the weights after each of three steps."""
    w, steps = np.array(W, dtype), []
    state = optimizer.state(w)
    for g in G:
        optimizer.update(state, w, np.array(g, dtype), LR)
        steps.append(w.copy())
    return np.array(steps)


def sgd(w: float, gradients: list[float]) -> Weights:
    first = w - 0.1 * gradients[0]
    second = first - 0.1 * gradients[1]
    return first, second, second - 0.1 * gradients[2]


def momentum(w: float, gradients: list[float]) -> Weights:
    u1 = gradients[0]
    u2 = 0.9 * u1 + gradients[1]
    u3 = 0.9 * u2 + gradients[2]
    return w - 0.1 * u1, w - 0.1 * u1 - 0.1 * u2, w - 0.1 * u1 - 0.1 * u2 - 0.1 * u3


def nesterov(w: float, gradients: list[float]) -> Weights:
    u1 = gradients[0]
    u2 = 0.9 * u1 + gradients[1]
    u3 = 0.9 * u2 + gradients[2]
    first = w - 0.1 * (gradients[0] + 0.9 * u1)
    second = first - 0.1 * (gradients[1] + 0.9 * u2)
    return first, second, second - 0.1 * (gradients[2] + 0.9 * u3)


def adagrad(w: float, gradients: list[float]) -> Weights:
    g1, g2, g3 = gradients
    first = w - 0.1 * g1 / (sqrt(g1**2) + EPS)
    second = first - 0.1 * g2 / (sqrt(g1**2 + g2**2) + EPS)
    return first, second, second - 0.1 * g3 / (sqrt(g1**2 + g2**2 + g3**2) + EPS)


def rmsprop(w: float, gradients: list[float]) -> Weights:
    g1, g2, g3 = gradients
    s1 = 0.05 * g1**2
    s2 = 0.95 * s1 + 0.05 * g2**2
    s3 = 0.95 * s2 + 0.05 * g3**2
    first = w - 0.1 * g1 / (sqrt(s1) + EPS)
    second = first - 0.1 * g2 / (sqrt(s2) + EPS)
    return first, second, second - 0.1 * g3 / (sqrt(s3) + EPS)


def adam(w: float, gradients: list[float]) -> Weights:
    g1, g2, g3 = gradients
    m1, v1 = 0.1 * g1, 0.001 * g1**2
    m2, v2 = 0.9 * m1 + 0.1 * g2, 0.999 * v1 + 0.001 * g2**2
    m3, v3 = 0.9 * m2 + 0.1 * g3, 0.999 * v2 + 0.001 * g3**2
    first = w - 0.1 * (m1 / (1 - 0.9)) / (sqrt(v1 / (1 - 0.999)) + EPS)
    second = first - 0.1 * (m2 / (1 - 0.9**2)) / (sqrt(v2 / (1 - 0.999**2)) + EPS)
    return first, second, second - 0.1 * (m3 / (1 - 0.9**3)) / (sqrt(v3 / (1 - 0.999**3)) + EPS)


@pytest.mark.parametrize(
    ("optimizer", "rule", "tolerance"),
    [
        (SGD(), sgd, PLAIN),
        (Momentum(0.9, nesterov=False), momentum, PLAIN),
        (Momentum(0.9, nesterov=True), nesterov, PLAIN),
        (Adagrad(EPS), adagrad, ADAPTIVE),
        (RMSprop(0.95, EPS), rmsprop, ADAPTIVE),
        (Adam(0.9, 0.999, EPS), adam, ADAPTIVE + DEBIASED),
    ],
    ids=["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"],
)
def test_update_rule(optimizer: Optimizer, rule: Rule, tolerance: float) -> None:
    """`rule(w, gradients)` is the published formula on scalars."""
    expected = np.array([rule(w, [g[k] for g in G]) for k, w in enumerate(W)]).T
    np.testing.assert_allclose(optimizer_steps(optimizer), expected, rtol=tolerance)


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_update_keeps_dtype(optimizer: Optimizer) -> None:
    w = np.array(W, np.float32)
    state = optimizer.state(w)
    optimizer.update(state, w, np.array(G[0], np.float32), LR)
    assert w.dtype == np.float32
    assert all(array.dtype == np.float32 for name, array in state.items() if name != "step")
    np.testing.assert_allclose(
        optimizer_steps(optimizer, np.float32), optimizer_steps(optimizer), rtol=SINGLE
    )


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_optimizer_descends_quadratic(optimizer: Optimizer) -> None:
    w = np.array([0.5, -0.4])
    state = optimizer.state(w)
    for _ in range(400):
        optimizer.update(state, w, 2 * w, 0.05)
    assert abs(w).max() < 0.2


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_optimizer_state_is_external(optimizer: Optimizer) -> None:
    """A second training run with the same optimizer takes the same steps."""
    assert optimizer_steps(optimizer).tobytes() == optimizer_steps(optimizer).tobytes()


def test_adam_step_count_is_integer() -> None:
    adam, w = Adam(0.9, 0.999, EPS), np.array(W, np.float32)
    state = adam.state(w)
    assert state["step"].dtype == np.int64
    for g in G:
        adam.update(state, w, np.array(g, np.float32), LR)
    assert state["step"] == 3


def test_blocked_adam_matches_single_elements() -> None:
    """Three blocks; the last one is short."""
    size = 2 * BLOCK_ELEMENTS + 3
    rng = np.random.default_rng(0)
    whole, gradients = rng.standard_normal(size), rng.standard_normal((2, size))
    initial, adam = whole.copy(), Adam(0.9, 0.999, EPS)
    state = adam.state(whole)
    for g in gradients:
        adam.update(state, whole, g.copy(), LR)
    for k in (0, BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, 2 * BLOCK_ELEMENTS - 1, 2 * BLOCK_ELEMENTS, size - 1):
        single = initial[k : k + 1].copy()
        single_state = adam.state(single)
        for g in gradients:
            adam.update(single_state, single, g[k : k + 1].copy(), LR)
        bound = 2 * gamma(20, DOUBLE) * float(abs(initial[k]) + 2 * LR)  # two steps of at most 10 roundings
        assert whole[k] == pytest.approx(single[0], rel=0, abs=bound)
    assert not (whole == initial).any()


def test_weight_decay_is_in_place() -> None:
    a, b = np.array([[2.0, -4.0]], np.float32), np.array([[1.0]], np.float32)
    decay_weights([a, b], 0.25)
    assert a.tolist() == [[1.5, -3.0]]
    assert b.tolist() == [[0.75]]
    assert a.dtype == np.float32


def test_ema_ramp() -> None:
    average = np.array([1.0])
    ema_update(average, np.array([3.0]), 0.999, step=1)
    first = 2 / 11 * 1.0 + 9 / 11 * 3.0  # d = (1 + 1) / (10 + 1)
    assert average[0] == pytest.approx(first, rel=gamma(8, DOUBLE))  # roundings on both sides
    ema_update(average, np.array([-1.0]), 0.999, step=2)
    bound = gamma(8, DOUBLE) * (3 / 12 * first + 9 / 12)  # relative to the terms of the difference
    assert average[0] == pytest.approx(3 / 12 * first - 9 / 12, rel=0, abs=bound)


@pytest.mark.parametrize(("step", "d"), [(1, 2 / 11), (79, 80 / 89), (80, 0.9), (81, 0.9), (10**6, 0.9)])
def test_ema_decay_is_limited_by_ramp(step: int, d: float) -> None:
    average = np.array([1.0])
    ema_update(average, np.array([0.0]), 0.9, step)
    assert average[0] == pytest.approx(d, rel=gamma(8, DOUBLE))


def test_ema_is_in_place() -> None:
    average, w = np.zeros(3, np.float32), np.ones(3, np.float32)
    ema_update(average, w, 0.5, step=100)
    assert average.tolist() == [0.5, 0.5, 0.5]
    assert w.tolist() == [1, 1, 1]
    assert average.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_global_norm(dtype: type[np.floating]) -> None:
    assert global_norm(np.array([2, -3, 6], dtype)) == 7  # exact: no sum is rounded


def test_global_norm_of_zeros() -> None:
    assert global_norm(np.zeros(5)) == 0


def test_clip_norm_scales_to_limit() -> None:
    g = np.array([3.0, -4.0])
    assert clip_norm(g, global_norm(g), 2.5) is True
    assert g.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("limit", [5.0, 5.1])
def test_clip_norm_keeps_small_gradients(limit: float) -> None:
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
def test_clip_value_limits_each_element(before: list[float], after: list[float], clipped: bool) -> None:
    g = np.array(before)
    assert clip_value(g, 1.0) is clipped
    assert g.tolist() == after


def test_clipping_keeps_dtype() -> None:
    g = np.full(4, 10, np.float32)
    clip_value(g, 2.0)
    clip_norm(g, global_norm(g), 1.0)
    assert g.dtype == np.float32
    assert global_norm(g) == 1  # four halves
