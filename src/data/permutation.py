"""A random order of N things that is computed where it is asked for, and kept nowhere.

A Feistel network over a by b cells, just enough for N, with numbers added instead of bits flipped: the
generalized cipher of Black and Rogaway (2002), "Ciphers with arbitrary finite domains". An index x < a b is
the pair (l, r) = (x mod a, x div a), and the rounds

    l <- (l + F(key, r)) mod a        r <- (r + F(key, l)) mod b

can each be undone, whatever F is, so together they are a permutation; from few rounds on it cannot be told
from a random one, if F cannot (Luby and Rackoff 1988). What lands in one of the few cells from N on goes
through again until it does not: cycle walking, from the same paper. F is the finalizer of MurmurHash3
(Appleby 2011), scaled to the range by its high bits (Lemire 2019, "Fast random integer generation in an
interval", without the rejections: the bias is below a / 2^32).
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8  # four are proved for a perfect F; a few windows have only a few values of F to be mixed by


def draw_keys(rng: np.random.Generator) -> list[int]:
    """The keys of one permutation: all that there is to remember of it."""
    return [int(key) for key in rng.integers(2**32, size=ROUNDS)]


def permutation_slice(start: int, stop: int, count: int, keys: list[int]) -> NDArray[np.intp]:
    """What stands at the places start..stop-1 of a permutation of 0..count-1, shape (stop - start,).

    >>> keys = draw_keys(np.random.default_rng(1))
    >>> permutation_slice(0, 10, 10, keys).tolist()
    [9, 0, 7, 2, 8, 5, 3, 4, 6, 1]
    >>> permutation_slice(3, 6, 10, keys).tolist()
    [2, 8, 5]
    """
    a = isqrt(count - 1) + 1
    b = -(-count // a)
    x = np.arange(start, stop, dtype=np.uint64)
    x = _feistel(x, a, b, keys)
    outside = np.flatnonzero(x >= count)
    while outside.size:
        x[outside] = _feistel(x[outside], a, b, keys)
        outside = outside[x[outside] >= count]
    return x.astype(np.intp)


def _feistel(x: NDArray[np.uint64], a: int, b: int, keys: list[int]) -> NDArray[np.uint64]:
    """One walk through all rounds, of each number by itself."""
    r, left = np.divmod(x, np.uint64(a))
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        _round(left, r, first, a)
        _round(r, left, second, b)
    return r * np.uint64(a) + left


def _round(to: NDArray[np.uint64], other: NDArray[np.uint64], key: int, below: int) -> None:
    """to <- (to + F(key, other)) mod below, in place."""
    f = other.astype(np.uint32)
    f ^= np.uint32(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        f ^= f >> np.uint32(shift)
        f *= np.uint32(factor)
    f ^= f >> np.uint32(16)
    to += (f * np.uint64(below)) >> np.uint64(32)
    to -= np.where(to >= below, np.uint64(below), np.uint64(0))
