"""Checks that optimizers and schedules make of their own hyperparameters."""

from math import isfinite
from typing import Any


def check_number(
    name: str,
    value: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    integer: bool = False,
) -> None:
    """Raise ValueError unless a value is a finite number (with `integer` an int) within its bounds.

    >>> check_number("beta1", 2, ge=0, lt=1)
    Traceback (most recent call last):
    ValueError: beta1: expected a number >= 0 and < 1, got 2
    """
    number = isinstance(value, int if integer else int | float) and not isinstance(value, bool)
    within = number and isfinite(value)
    within = within and (ge is None or value >= ge) and (gt is None or value > gt)
    within = within and (le is None or value <= le) and (lt is None or value < lt)
    if not within:
        ends = {">=": ge, ">": gt, "<=": le, "<": lt}
        bounds = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        raise ValueError(f"{name}: expected {'an integer' if integer else 'a number'} {bounds}, got {value}")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless a value is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value}")
