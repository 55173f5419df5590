"""Each update rule against its published formula, worked out on scalars in plain Python."""

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
    decay_weights,
    ema_update,
)
from src.rnn.parameters import Array
from tests.rounding import DOUBLE, UNIT, gamma

Rule = Callable[[float, list[float]], tuple[float, float, float]]  # w and the gradients: w after each

W, G, LR = [0.5, -2.0], [[0.3, -0.1], [-0.2, 0.4], [0.25, 0.05]], 0.1  # two weights, three steps
# Three steps of at most 4 (plain) or 10 (adaptive) roundings on either side, in sums that fall to no less
# than a half (plain) or a quarter (adaptive) of their terms.
PLAIN, ADAPTIVE, SINGLE = 2 * gamma(2 * 12, DOUBLE), 4 * gamma(2 * 30, DOUBLE), 4 * gamma(30, UNIT)
DEBIASED = 4 * DOUBLE / (1 - 0.999)  # 1 - 0.999^k on either side: of a difference that is a thousandth of 1
EPS = 1e-3  # large, so that a formula with eps in another place gives another number
ALL = [
    SGD(),
    Momentum(0.9, nesterov=False),
    Momentum(0.9, nesterov=True),
    Adagrad(1e-8),
    RMSprop(0.95, 1e-8),
    Adam(0.9, 0.999, 1e-8),
]


def taken(optimizer: Optimizer, dtype: type[np.floating] = np.float64) -> Array:
    """The weights after each of the three steps."""
    w, after = np.array(W, dtype), []
    state = optimizer.state(w)
    for g in G:
        optimizer.update(state, w, np.array(g, dtype), LR)
        after.append(w.copy())
    return np.array(after)


def by_hand(rule: Rule) -> Array:
    """The same of a rule on one scalar: rule(w, gradients) gives w after each gradient."""
    columns = [rule(w, [g[k] for g in G]) for k, w in enumerate(W)]
    return np.array(columns).T


def test_sgd() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        first = w - 0.1 * gradients[0]
        second = first - 0.1 * gradients[1]
        return first, second, second - 0.1 * gradients[2]

    np.testing.assert_allclose(taken(SGD()), by_hand(rule), rtol=PLAIN)


def test_momentum() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        u1 = gradients[0]
        u2 = 0.9 * u1 + gradients[1]
        u3 = 0.9 * u2 + gradients[2]
        return w - 0.1 * u1, w - 0.1 * u1 - 0.1 * u2, w - 0.1 * u1 - 0.1 * u2 - 0.1 * u3

    np.testing.assert_allclose(taken(Momentum(0.9, nesterov=False)), by_hand(rule), rtol=PLAIN)


def test_nesterov_momentum() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        u1 = gradients[0]
        u2 = 0.9 * u1 + gradients[1]
        u3 = 0.9 * u2 + gradients[2]
        first = w - 0.1 * (gradients[0] + 0.9 * u1)
        second = first - 0.1 * (gradients[1] + 0.9 * u2)
        return first, second, second - 0.1 * (gradients[2] + 0.9 * u3)

    np.testing.assert_allclose(taken(Momentum(0.9, nesterov=True)), by_hand(rule), rtol=PLAIN)


def test_adagrad() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        g1, g2, g3 = gradients
        first = w - 0.1 * g1 / (sqrt(g1**2) + EPS)
        second = first - 0.1 * g2 / (sqrt(g1**2 + g2**2) + EPS)
        return first, second, second - 0.1 * g3 / (sqrt(g1**2 + g2**2 + g3**2) + EPS)

    np.testing.assert_allclose(taken(Adagrad(EPS)), by_hand(rule), rtol=ADAPTIVE)


def test_rmsprop() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        g1, g2, g3 = gradients
        s1 = 0.05 * g1**2
        s2 = 0.95 * s1 + 0.05 * g2**2
        s3 = 0.95 * s2 + 0.05 * g3**2
        first = w - 0.1 * g1 / (sqrt(s1) + EPS)
        second = first - 0.1 * g2 / (sqrt(s2) + EPS)
        return first, second, second - 0.1 * g3 / (sqrt(s3) + EPS)

    np.testing.assert_allclose(taken(RMSprop(0.95, EPS)), by_hand(rule), rtol=ADAPTIVE)


def test_adam() -> None:
    def rule(w: float, gradients: list[float]) -> tuple[float, float, float]:
        g1, g2, g3 = gradients
        m1, v1 = 0.1 * g1, 0.001 * g1**2
        m2, v2 = 0.9 * m1 + 0.1 * g2, 0.999 * v1 + 0.001 * g2**2
        m3, v3 = 0.9 * m2 + 0.1 * g3, 0.999 * v2 + 0.001 * g3**2
        first = w - 0.1 * (m1 / (1 - 0.9)) / (sqrt(v1 / (1 - 0.999)) + EPS)
        second = first - 0.1 * (m2 / (1 - 0.9**2)) / (sqrt(v2 / (1 - 0.999**2)) + EPS)
        return first, second, second - 0.1 * (m3 / (1 - 0.9**3)) / (sqrt(v3 / (1 - 0.999**3)) + EPS)

    np.testing.assert_allclose(taken(Adam(0.9, 0.999, EPS)), by_hand(rule), rtol=ADAPTIVE + DEBIASED)


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_single_precision_stays_single_and_close(optimizer: Optimizer) -> None:
    w = np.array(W, np.float32)
    state = optimizer.state(w)
    optimizer.update(state, w, np.array(G[0], np.float32), LR)
    assert w.dtype == np.float32
    assert all(array.dtype == np.float32 for name, array in state.items() if name != "step")
    np.testing.assert_allclose(taken(optimizer, np.float32), taken(optimizer), rtol=SINGLE)


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_every_optimizer_descends_a_bowl(optimizer: Optimizer) -> None:
    w = np.array([0.5, -0.4])
    state = optimizer.state(w)
    for _ in range(400):
        optimizer.update(state, w, 2 * w, 0.05)
    assert abs(w).max() < 0.2


@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_what_is_remembered_stands_in_the_state_alone(optimizer: Optimizer) -> None:
    """A second training with the same optimizer takes the same steps as the first."""
    assert taken(optimizer).tobytes() == taken(optimizer).tobytes()


def test_adam_counts_its_steps_in_whole_numbers() -> None:
    adam, w = Adam(0.9, 0.999, EPS), np.array(W, np.float32)
    state = adam.state(w)
    assert state["step"].dtype == np.int64
    for g in G:
        adam.update(state, w, np.array(g, np.float32), LR)
    assert state["step"] == 3


def test_adam_takes_a_large_vector_block_by_block_as_a_small_one() -> None:
    """Three blocks, the last one short: each number is where it would be in a vector of its own."""
    size = 2 * BLOCK_ELEMENTS + 3
    rng = np.random.default_rng(0)
    whole, gradients = rng.standard_normal(size), rng.standard_normal((2, size))
    begun, adam = whole.copy(), Adam(0.9, 0.999, EPS)
    state = adam.state(whole)
    for g in gradients:
        adam.update(state, whole, g.copy(), LR)
    for k in (0, BLOCK_ELEMENTS - 1, BLOCK_ELEMENTS, 2 * BLOCK_ELEMENTS - 1, 2 * BLOCK_ELEMENTS, size - 1):
        alone = begun[k : k + 1].copy()
        own = adam.state(alone)
        for g in gradients:
            adam.update(own, alone, g[k : k + 1].copy(), LR)
        off = 2 * gamma(20, DOUBLE) * float(abs(begun[k]) + 2 * LR)  # two steps of at most 10 roundings
        assert whole[k] == pytest.approx(alone[0], rel=0, abs=off)
    assert not (whole == begun).any()


def test_weight_decay_shrinks_each_matrix_in_place() -> None:
    a, b = np.array([[2.0, -4.0]], np.float32), np.array([[1.0]], np.float32)
    decay_weights([a, b], 0.25)
    assert a.tolist() == [[1.5, -3.0]]
    assert b.tolist() == [[0.75]]
    assert a.dtype == np.float32


def test_average_forgets_the_first_weights_along_its_ramp() -> None:
    average = np.array([1.0])
    ema_update(average, np.array([3.0]), 0.999, step=1)
    first = 2 / 11 * 1.0 + 9 / 11 * 3.0  # d = (1 + 1) / (10 + 1)
    assert average[0] == pytest.approx(first, rel=gamma(8, DOUBLE))  # so many roundings on both sides
    ema_update(average, np.array([-1.0]), 0.999, step=2)
    off = gamma(8, DOUBLE) * (3 / 12 * first + 9 / 12)  # relative to the terms of a difference
    assert average[0] == pytest.approx(3 / 12 * first - 9 / 12, rel=0, abs=off)


@pytest.mark.parametrize(("step", "d"), [(1, 2 / 11), (79, 80 / 89), (80, 0.9), (81, 0.9), (10**6, 0.9)])
def test_average_decays_by_the_lesser_of_ramp_and_decay(step: int, d: float) -> None:
    average = np.array([1.0])
    ema_update(average, np.array([0.0]), 0.9, step)
    assert average[0] == pytest.approx(d, rel=gamma(8, DOUBLE))


def test_average_is_taken_in_place_and_leaves_the_weights() -> None:
    average, w = np.zeros(3, np.float32), np.ones(3, np.float32)
    ema_update(average, w, 0.5, step=100)
    assert average.tolist() == [0.5, 0.5, 0.5]
    assert w.tolist() == [1, 1, 1]
    assert average.dtype == np.float32
