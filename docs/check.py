"""Check the answers of the exercises in docs/exercises.py.

    python -m docs.check lstm_backward      (or several names, or: all)

A function is called on random arrays and compared with the solution. A backward step is called for each time
step of a sequence, from the last to the first, with the correct gradient from the time step after it: a
mistake in one step does not change the next. In a notebook: `from docs.check import check`, then
`print(check(lstm_backward))` in the cell of the function.
"""

import sys
import traceback
from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np

from docs.exercise_cases import EXERCISES, GATES, Arguments, B, Case, Exercise, Function
from docs.solutions import Array
from src.common.console import echo_err, pluralize
from src.common.errors import UserError

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # tolerances: far above rounding, far below any mistake


def check(function: Function) -> str:
    """Return the report on an answer: one line if it is right, else what differs, where, and a hint."""
    name = function.__name__
    if name not in EXERCISES:
        raise UserError(f"check: expected an exercise of {', '.join(EXERCISES)}, got {name}")
    exercise = EXERCISES[name]
    cases = list(exercise.cases(np.random.default_rng(0)))
    found: list[Sequence[Any]] = []
    with np.errstate(all="ignore"):
        for where, arguments in cases:
            given = copied(arguments)
            try:
                results = function(**given)
            except NotImplementedError:
                return f"{name}: not written yet"
            except Exception as error:
                return f"{name} {where}: {type(error).__name__}: {error}{line_of(error, function)}"
            touched = [key for key, value in arguments.items() if not np.array_equal(value, given[key])]
            if touched:
                return f"{name} {where}: {touched[0]} was changed in place; compute a new array"
            found.append(results if len(exercise.results) > 1 else (results,))
            if not isinstance(found[-1], tuple | list) or len(found[-1]) != len(exercise.results):
                names, got = ", ".join(exercise.results), kind_of(results)
                return f"{name} {where}: expected {len(exercise.results)} results ({names}), got {got}"
        faults = [
            fault
            for k, result in enumerate(exercise.results)
            if (fault := first_difference(exercise, result, k, cases, [each[k] for each in found]))
        ]
    if not faults:
        return f"{name}: right ({', '.join(exercise.results)} in {pluralize(len(cases), 'case')})"
    of = pluralize(len(exercise.results), "result")
    return "\n".join([f"{name}: {len(faults)} of {of} wrong", *faults])


def copied(arguments: Arguments) -> Arguments:
    return {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in arguments.items()}


def kind_of(results: Any) -> str:
    return str(len(results)) if isinstance(results, tuple | list) else type(results).__name__


def line_of(error: Exception, function: Function) -> str:
    """Return the line of the answer that raised an error."""
    file = function.__code__.co_filename
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]} of {file})" if lines else ""


def first_difference(
    exercise: Exercise, result: str, k: int, cases: list[Case], found: list[Any]
) -> str | None:
    """Return where a result first differs from the solution, by how much, and a hint; None if it is right."""

    def values(function: Function) -> list[Array]:
        every = [function(**copied(arguments)) for _, arguments in cases]
        return [np.asarray(each if len(exercise.results) == 1 else each[k], float) for each in every]

    expected = values(exercise.solution)
    try:
        got = [np.asarray(each) + 0.0 for each in found]
    except (TypeError, ValueError):  # None, a text, a ragged list
        return f"  {result}: expected numbers, got {kind_of(found[0])}"
    wrong = [n for n in range(len(cases)) if not same(got[n], expected[n])]
    if not wrong:
        return None
    first = wrong[0]
    where, one, other = cases[first][0], got[first], expected[first]
    if one.shape != other.shape:
        hint = "transpose it" if one.shape == other.shape[::-1] else exercise.hints[result]
        difference = f"expected the shape {other.shape}, got {one.shape}"
    else:
        distance = np.abs(one - other)
        at = np.unravel_index(int(np.nan_to_num(distance, nan=np.inf).argmax()), other.shape)
        index = f" at {[int(i) for i in at]}" if at else ""
        difference = f"expected {other[at]:.6g}{index}, got {one[at]:.6g}"
        if other.size > 1:
            difference += (
                f"; {np.count_nonzero(~(distance <= ABSOLUTE + RELATIVE * np.abs(other)))} of {other.size}"
            )
            difference += f" numbers differ, by at most {distance.max():.2g}"
        typical = (h for h, r, f in exercise.mistakes if r == result and all(map(same, got, values(f))))
        hint = next(typical, None) or relation(one, other) or exercise.hints[result]
    return f"  {result} {where}: {difference}\n    hint: {hint}"


def same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True)


def relation(found: Array, expected: Array) -> str | None:
    """Return a hint if the wrong array is a simple function of the right one."""
    if same(found, -expected):
        return "the sign is wrong"
    if same(found, B * expected):
        return "this is the sum over the predictions: the mean divides by their number N"
    if same(found, expected / B):
        return "it is divided by the number of sequences once too often"
    if same(found, expected / log(2)):
        return "these are bits; nats are the natural logarithm"
    if same(found, expected.T):
        return "transpose it"
    if found.ndim and len(found) == len(GATES) and same(np.sort(found, axis=0), np.sort(expected, axis=0)):
        return f"the gates are in another order than {', '.join(GATES)}"
    return None


def main() -> int:
    names = list(EXERCISES) if "all" in sys.argv[1:] else sys.argv[1:]
    try:
        if not names or not set(names) <= EXERCISES.keys():
            got = " ".join(name for name in names if name not in EXERCISES) or "nothing"
            raise UserError(f"check: expected all, or exercises of {', '.join(EXERCISES)}, got {got}")
        try:
            from docs import exercises

            functions = [getattr(exercises, name) for name in names]
        except Exception as error:  # whatever the students wrote
            line = f"{type(error).__name__}: {error}"
            raise UserError(f"check: expected docs/exercises.py to be importable, got {line}") from error
    except UserError as error:
        echo_err(str(error))
        return 2
    reports = [check(function) for function in functions]
    print("\n".join(reports))
    return 0 if all(": right (" in report for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
