"""Running error analysis: arrays, each with how far a computation of it may be off.

Each array that a pass computes has a bound of its error in the 2-norm (of all its numbers), carried
from operation to operation (Higham, "Accuracy and stability of numerical algorithms", section 3.3): forward
through the equations, and backward through their derivatives to first order in the unit roundoff u.

- a product x w adds gamma(n + 2) |||x| |w|||, n the terms of its sums, whatever their order is and wherever
  the input and the bias are added; what was off before it grows by ||w||_2 at most. Backward, n are all terms
  of the pass over time and batch.
- tanh and sigma pass on what was off times their largest slope here, and add ELEMENTWISE roundings: the
  functions' own (2 FUNCTION, as a unit in the last place is up to 2 u). The derivatives of a cell are written
  in several ways: ELEMENTWISE roundings of their terms, too.
- a relu whose argument is within the bound of 0 may have either slope.

So the bounds hold for every BLAS kernel, every number of threads and each way to write the equations. What
a network is off by in this arithmetic: network_error.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from src.rnn.parameters import Array
from tests.rounding import FUNCTION, gamma

ELEMENTWISE = 2 * FUNCTION
Off = tuple[Array, float]  # an array, and the bound of its error


def norm(a: Array) -> float:
    return float(np.linalg.norm(a))


class Number:
    """An array of the pass, exact and how far it may be off; d and d_off: the same of dL/d(array)."""

    def __init__(
        self, value: Array, off: float, *parents: tuple["Number", Callable[[Array, float], Off]]
    ) -> None:
        self.value, self.off, self.parents = value, off, parents
        self.d, self.d_off = np.zeros(()), 0.0
        self.length = -1.0

    def add_gradient(self, d: Array, off: float) -> None:
        self.d, self.d_off = self.d + d, self.d_off + off

    def spectral(self) -> float:
        """||value||_2, once for each matrix of weights."""
        if self.length < 0:
            self.length = float(np.linalg.norm(self.value, 2))
        return self.length


class Arithmetic:
    """The operations of a pass of unit roundoff `unit`; `longest`: terms of its longest sum."""

    def __init__(self, unit: float, longest: int) -> None:
        self.unit, self.gamma, self.round = unit, gamma(longest, unit), ELEMENTWISE * unit
        self.numbers: list[Number] = []

    def made(self, value: Array, off: float, *parents: Any) -> Number:
        self.numbers.append(Number(value, off, *parents))
        return self.numbers[-1]

    def product(self, x: Number, w: Number) -> Number:
        def to_x(d: Array, off: float) -> Off:
            terms = 4 * d.shape[1] + 4  # of at most four gates, and what comes from above
            own = gamma(terms, self.unit) * norm(abs(d) @ abs(w.value.T))
            return d @ w.value.T, off * w.spectral() + own

        def to_w(d: Array, off: float) -> Off:
            known = norm(x.value) * off + x.off * norm(d)
            return x.value.T @ d, known + self.gamma * norm(abs(x.value.T) @ abs(d))

        terms = int(np.count_nonzero(x.value, axis=1).max()) + 2  # one of a one-hot vector
        own = gamma(terms, self.unit) * norm(abs(x.value) @ abs(w.value))
        return self.made(x.value @ w.value, x.off * w.spectral() + own, (x, to_x), (w, to_w))

    def plus(self, a: Number, b: Number) -> Number:
        """b as a, or a bias: the same for each row."""
        rows = a.value.shape[0] if b.value.ndim < a.value.ndim else 0

        def to_b(d: Array, off: float) -> Off:
            if not rows:
                return d, off
            return d.sum(axis=0), rows**0.5 * off + self.gamma * norm(abs(d).sum(axis=0))

        own = self.unit * norm(abs(a.value) + abs(b.value))
        off = a.off + (rows or 1) ** 0.5 * b.off + own
        return self.made(a.value + b.value, off, (a, lambda d, off: (d, off)), (b, to_b))

    def times(self, a: Number, b: Number, addend: Array | None = None) -> Number:
        """addend: The other term of a sum with a b, which the backward pass subtracts again."""

        def to(other: Number, own: Number, again: bool) -> Callable[[Array, float], Off]:
            def pull(d: Array, off: float) -> Off:
                size = abs(d * other.value)
                if again and addend is not None:
                    size = size + abs(d) * (abs(addend) + abs(a.value * b.value)) / abs(own.value)
                known = abs(other.value).max() * off + abs(d).max() * other.off
                return d * other.value, known + self.round * norm(size)

            return pull

        value = a.value * b.value
        off = (
            abs(a.value).max() * b.off + abs(b.value).max() * a.off + a.off * b.off + self.unit * norm(value)
        )
        return self.made(value, off, (a, to(b, a, True)), (b, to(a, b, False)))

    def mixed(self, z: Number, h: Number, n: Number) -> Number:
        """(1 - z) n + z h: what is off of n and h is mixed by convex shares, as their squares are."""
        zs, apart = z.value, h.value - n.value
        value = n.value + zs * apart

        def to_z(d: Array, off: float) -> Off:
            again = norm(d * (abs(value) + abs(n.value) + abs(h.value)) / zs)  # z (h - n) = value - n
            known = abs(apart).max() * off + abs(d).max() * (h.off + n.off)
            return d * apart, known + self.round * again

        def to_h(d: Array, off: float) -> Off:
            return d * zs, zs.max() * off + abs(d).max() * z.off + self.round * norm(d)

        def to_n(d: Array, off: float) -> Off:
            return d * (1 - zs), (1 - zs).max() * off + abs(d).max() * z.off + self.round * norm(d)

        squares = (1 - zs).max() * n.off**2 + zs.max() * h.off**2  # (1 - z) a + z b squared, each unit's
        own = 4 * self.unit * norm(abs(n.value) + abs(h.value))  # at most so many in either form
        off = squares**0.5 + (abs(apart).max() + h.off + n.off) * z.off + own
        return self.made(value, off, (z, to_z), (h, to_h), (n, to_n))

    def curve(
        self, a: Number, value: Array, slope: Array, steepest: float, bend: float, own: Array
    ) -> Number:
        """f(a). bend: the largest |f''|. own: what f's own rounding is relative to."""
        most = min(steepest, slope.max() + bend * a.off)
        off = most * a.off + self.round * norm(own)

        def pull(d: Array, d_off: float) -> Off:
            slopes = bend * abs(d).max() * a.off + abs(d).max() * off + self.round * norm(d)
            return d * slope, most * d_off + slopes

        return self.made(value, off, (a, pull))

    def tanh(self, a: Number) -> Number:
        h = np.tanh(a.value)
        return self.curve(a, h, 1 - h * h, 1, 0.77, h)

    def sigmoid(self, a: Number) -> Number:
        s = 1 / (1 + np.exp(-a.value))
        return self.curve(a, s, s * (1 - s), 0.25, 0.1, np.ones_like(s))

    def relu(self, a: Number) -> Number:
        on = a.value > 0

        def pull(d: Array, off: float) -> Off:
            return d * on, off + norm(d[abs(a.value) <= a.off])

        return self.made(a.value * on, a.off, (a, pull))

    def backward(self) -> None:
        for number in reversed(self.numbers):
            if number.d.ndim:
                for parent, pull in number.parents:
                    parent.add_gradient(*pull(number.d, number.d_off))
