import re
from typing import Any

import pytest

from src.rnn.schedules import Constant, Cosine, Decay, Plateau, Schedule
from tests.rounding import DOUBLE, gamma

# Cosine at up to pi (2 u of its value, 4 u of its argument) and 10 operations on both
# sides, relative to factors of at least 0.2.
COSINE = gamma(2 * 10 + 2 + 4 * 4, DOUBLE)


def make(warmup_steps: int) -> list[Schedule]:
    return [
        Constant(warmup_steps),
        Cosine(warmup_steps, min_lr_factor=0.1),
        Plateau(warmup_steps, factor=0.5, patience=2, min_lr_factor=0.1),
        Decay(warmup_steps, 0.5, 3),
    ]


@pytest.mark.parametrize("kind", range(4))
def test_warmup_is_linear(kind: int) -> None:
    without, schedule = make(0)[kind], make(4)[kind]
    assert without.lr_factor(1, 0.0, 0.0) == 1
    factors = [schedule.lr_factor(step, 0.0, 0.0) for step in range(1, 7)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0.0, 1.0), (1 / 3, 0.2 + 0.8 * 0.75), (0.5, 0.6), (2 / 3, 0.2 + 0.8 * 0.25), (1.0, 0.2), (1.5, 0.2)],
)
def test_cosine_factors(progress: float, share: float) -> None:
    for warmup_steps, warmup in ((0, 1), (18, 0.5)):
        factor = Cosine(warmup_steps, min_lr_factor=0.2).lr_factor(9, progress, 0.0)
        assert factor == pytest.approx(share * warmup, rel=COSINE)


def factors_after(schedule: Schedule, observations: str) -> list[float]:
    """Return the factor after each evaluation: + improved, - did not."""
    factors = []
    for k, mark in enumerate(observations):
        schedule.on_validation(improved=mark == "+")
        factors.append(schedule.lr_factor(100, k / 10, 0.0))  # progress does not matter
    return factors


@pytest.mark.parametrize(
    ("schedule", "observations", "factors"),
    [
        (Plateau(0, 0.5, 2, 0.0), "------", [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        (Plateau(0, 0.5, 2, 0.0), "-+-+--+", [1, 1, 1, 1, 1, 0.5, 0.5]),  # improvements reset the counter
        (Plateau(0, 0.25, 1, 0.1), "----", [0.25, 0.1, 0.1, 0.1]),  # min_lr_factor
    ],
)
def test_plateau_reduces_after_patience(schedule: Plateau, observations: str, factors: list[float]) -> None:
    assert factors_after(schedule, observations) == factors


def test_plateau_state_is_restored() -> None:
    """After a reduction and one evaluation without improvement."""
    first, second = (Plateau(0, factor=0.5, patience=2, min_lr_factor=0.0) for _ in range(2))
    factors_after(first, "---")
    second.restore(first.state())
    assert second == first
    assert factors_after(second, "-+--") == [0.25, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("schedule", [s for s in make(4) if not isinstance(s, Plateau)], ids=str)
def test_stateless_schedules_have_empty_state(schedule: Schedule) -> None:
    schedule.on_validation(improved=False)
    assert schedule.state() == {}
    schedule.restore({})
    for progress in (0.0, 0.5, 1.0) if isinstance(schedule, Constant) else (0.0,):
        assert schedule.lr_factor(4, progress, 0.0) == 1


def test_decay_starts_after_epoch() -> None:
    schedule = Decay(0, factor=0.5, start_epoch=3)
    factors = [schedule.lr_factor(100, 0.0, epoch + within) for epoch in range(10) for within in (0.0, 0.99)]
    assert factors == [0.5 ** max(0, epoch - 2) for epoch in range(10) for _ in range(2)]


def test_decay_is_exact_at_epoch_ends() -> None:
    steps, epochs = 259, 50
    schedule = Decay(0, factor=0.95, start_epoch=10)
    for epoch in range(10, epochs):
        first = epoch * steps
        for step, exponent in ((first + 1, epoch - 9), (first, max(0, epoch - 10))):
            factor = schedule.lr_factor(step, 0.0, (step - 1) / (steps * epochs) * epochs)
            assert factor == 0.95**exponent


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"warmup_steps": -1}, "warmup_steps: expected an integer >= 0, got -1"),
        ({"warmup_steps": 1.5}, "warmup_steps: expected an integer >= 0, got 1.5"),
        ({"factor": 1}, "factor: expected a number > 0 and < 1, got 1"),
        ({"patience": 0}, "patience: expected an integer >= 1, got 0"),
        ({"min_lr_factor": 1.1}, "min_lr_factor: expected a number >= 0 and <= 1, got 1.1"),
    ],
)
def test_invalid_hyperparameters_are_rejected(arguments: dict[str, Any], line: str) -> None:
    valid = {"warmup_steps": 0, "factor": 0.5, "patience": 1, "min_lr_factor": 0.1}
    with pytest.raises(ValueError, match=re.escape(line)):
        Plateau(**valid | arguments)
