"""Running error analysis: arrays with bounds of their rounding errors.

Each array of a pass has an error bound in the 2-norm, propagated from operation to operation (Higham,
"Accuracy and stability of numerical algorithms", section 3.3): forward through the equations, and backward
through their derivatives to first order in the unit roundoff u.

- A product x w adds gamma(n + 2) |||x| |w|||, where n is the number of terms of its sums in any order;
  earlier errors grow by at most ||w||_2. Backward, n counts all terms of the pass over time and batch.
- tanh and sigma multiply errors by their largest slope here and add ELEMENTWISE roundings: those of the
  functions (2 FUNCTION, as a unit in the last place is up to 2 u) and of the forms of their derivatives.
- A relu whose argument is within the bound of 0 can have either slope.

So the bounds hold for every BLAS kernel, number of threads and form of the equations. network_error.py
computes the bounds of a network.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from src.rnn.parameters import Array
from tests.rounding import FUNCTION, gamma

ELEMENTWISE = 2 * FUNCTION
WithError = tuple[Array, float]  # an array, and the bound of its error


def norm(a: Array) -> float:
    return float(np.linalg.norm(a))


class Number:
    """An array of the pass and its error bound; d and d_error: the same for dL/d(array)."""

    def __init__(
        self, value: Array, error: float, *parents: tuple["Number", Callable[[Array, float], WithError]]
    ) -> None:
        self.value, self.error, self.parents = value, error, parents
        self.d, self.d_error = np.zeros(()), 0.0

    def add_gradient(self, d: Array, error: float) -> None:
        self.d, self.d_error = self.d + d, self.d_error + error

    @cached_property
    def spectral(self) -> float:
        """||value||_2, computed once per weight matrix."""
        return float(np.linalg.norm(self.value, 2))


class Arithmetic:
    """Operations with unit roundoff `unit`; `longest`: number of terms of the longest sum."""

    def __init__(self, unit: float, longest: int) -> None:
        self.unit, self.gamma, self.round = unit, gamma(longest, unit), ELEMENTWISE * unit
        self.numbers: list[Number] = []

    def record(self, value: Array, error: float, *parents: Any) -> Number:
        self.numbers.append(Number(value, error, *parents))
        return self.numbers[-1]

    def product(self, x: Number, w: Number) -> Number:
        def to_x(d: Array, error: float) -> WithError:
            terms = 4 * d.shape[1] + 4  # at most four gates and the upstream gradient
            own = gamma(terms, self.unit) * norm(abs(d) @ abs(w.value.T))
            return d @ w.value.T, error * w.spectral + own

        def to_w(d: Array, error: float) -> WithError:
            inherited = norm(x.value) * error + x.error * norm(d)
            return x.value.T @ d, inherited + self.gamma * norm(abs(x.value.T) @ abs(d))

        terms = int(np.count_nonzero(x.value, axis=1).max()) + 2  # 1 for a one-hot vector
        own = gamma(terms, self.unit) * norm(abs(x.value) @ abs(w.value))
        return self.record(x.value @ w.value, x.error * w.spectral + own, (x, to_x), (w, to_w))

    def plus(self, a: Number, b: Number) -> Number:
        """Add b, an array like a or a bias for each row."""
        rows = a.value.shape[0] if b.value.ndim < a.value.ndim else 0

        def to_b(d: Array, error: float) -> WithError:
            if not rows:
                return d, error
            return d.sum(axis=0), rows**0.5 * error + self.gamma * norm(abs(d).sum(axis=0))

        own = self.unit * norm(abs(a.value) + abs(b.value))
        error = a.error + (rows or 1) ** 0.5 * b.error + own
        return self.record(a.value + b.value, error, (a, lambda d, error: (d, error)), (b, to_b))

    def times(self, a: Number, b: Number, addend: Array | None = None) -> Number:
        """Multiply elementwise. addend: the other term of a sum with a b; backward subtracts it."""

        def to(other: Number, own: Number, recomputed: bool) -> Callable[[Array, float], WithError]:
            def to_parent(d: Array, error: float) -> WithError:
                size = abs(d * other.value)
                if recomputed and addend is not None:
                    size = size + abs(d) * (abs(addend) + abs(a.value * b.value)) / abs(own.value)
                inherited = abs(other.value).max() * error + abs(d).max() * other.error
                return d * other.value, inherited + self.round * norm(size)

            return to_parent

        value = a.value * b.value
        error = (
            abs(a.value).max() * b.error
            + abs(b.value).max() * a.error
            + a.error * b.error
            + self.unit * norm(value)
        )
        return self.record(value, error, (a, to(b, a, True)), (b, to(a, b, False)))

    def mixed(self, z: Number, h: Number, n: Number) -> Number:
        """Return (1 - z) n + z h. The errors of n and h combine with convex weights, as their squares do."""
        zs, difference = z.value, h.value - n.value
        value = n.value + zs * difference

        def to_z(d: Array, error: float) -> WithError:
            recomputed = norm(d * (abs(value) + abs(n.value) + abs(h.value)) / zs)  # z (h - n) = value - n
            inherited = abs(difference).max() * error + abs(d).max() * (h.error + n.error)
            return d * difference, inherited + self.round * recomputed

        def to_h(d: Array, error: float) -> WithError:
            return d * zs, zs.max() * error + abs(d).max() * z.error + self.round * norm(d)

        def to_n(d: Array, error: float) -> WithError:
            return d * (1 - zs), (1 - zs).max() * error + abs(d).max() * z.error + self.round * norm(d)

        squares = (1 - zs).max() * n.error**2 + zs.max() * h.error**2  # squares of each unit
        own = 4 * self.unit * norm(abs(n.value) + abs(h.value))  # for either form of the equation
        error = squares**0.5 + (abs(difference).max() + h.error + n.error) * z.error + own
        return self.record(value, error, (z, to_z), (h, to_h), (n, to_n))

    def curve(
        self, a: Number, value: Array, slope: Array, max_slope: float, max_curvature: float, own: Array
    ) -> Number:
        """Apply f. max_curvature: the largest |f''|. own: the array that f's rounding is relative to."""
        slope_bound = min(max_slope, slope.max() + max_curvature * a.error)
        error = slope_bound * a.error + self.round * norm(own)

        def to_parent(d: Array, d_error: float) -> WithError:
            slopes = max_curvature * abs(d).max() * a.error + abs(d).max() * error + self.round * norm(d)
            return d * slope, slope_bound * d_error + slopes

        return self.record(value, error, (a, to_parent))

    def tanh(self, a: Number) -> Number:
        h = np.tanh(a.value)
        return self.curve(a, h, 1 - h * h, 1, 0.77, h)

    def sigmoid(self, a: Number) -> Number:
        s = 1 / (1 + np.exp(-a.value))
        return self.curve(a, s, s * (1 - s), 0.25, 0.1, np.ones_like(s))

    def relu(self, a: Number) -> Number:
        on = a.value > 0

        def to_parent(d: Array, error: float) -> WithError:
            return d * on, error + norm(d[abs(a.value) <= a.error])

        return self.record(a.value * on, a.error, (a, to_parent))

    def backward(self) -> None:
        for number in reversed(self.numbers):
            if number.d.ndim:
                for parent, to_parent in number.parents:
                    parent.add_gradient(*to_parent(number.d, number.d_error))
