"""Suffix array, which finds passages of one text in another.

The array lists the positions of a text in the alphabetical order of the suffixes that begin there, so all
positions at which a passage occurs are next to each other (Manber and Myers 1993). It is built by prefix
doubling: the positions are sorted by up to 8 characters, then by twice as many, and so on, each time only the
positions that are still equal (Larsson and Sadakane 2007).
"""

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]
Positions = NDArray[np.int64]


def suffix_array(tokens: Tokens) -> Positions:
    """Compute the suffix array of a text.

    Memory: 60 bytes per character.

    Args:
        tokens: Token ids, shape (N,).

    Returns:
        The positions 0..N-1, int64, shape (N,), in the alphabetical order of the suffixes that begin there.
    """
    n = tokens.size
    base = int(tokens.max(initial=0)) + 2  # 0 stands for the end of the text
    step = max(k for k in (1, 2, 4, 8) if base**k <= 2**64)
    key = np.zeros(n, np.uint64)
    for k in range(step):
        key *= np.uint64(base)
        key[: max(0, n - k)] += tokens[k:].astype(np.uint64) + np.uint64(1)
    order = np.argsort(key, kind="stable")
    rank = np.empty(n + 1, np.int64)  # of each position: where its group of equal positions begins in `order`
    rank[n] = -1
    slots = np.arange(n)
    key = key[order]
    while slots.size:
        starts = np.concatenate([[True], key[1:] != key[:-1]])
        rank[order[slots]] = slots[np.maximum.accumulate(np.where(starts, np.arange(slots.size), 0))]
        alone = starts & np.concatenate([starts[1:], [True]])
        slots = slots[~alone]
        places = order[slots]
        key = rank[places] * (n + 1) + rank[np.minimum(places + step, n)] + 1
        sorting = np.argsort(key, kind="stable")
        order[slots], key = places[sorting], key[sorting]
        step *= 2
    return order


def longest_copy(tokens: Tokens, suffixes: Positions, passage: Tokens) -> tuple[int, int]:
    """Find the longest part of a passage that occurs in a text; the first one if several are longest.

    The candidates, one for each position of the passage, grow together by one character at a time. Each keeps
    the range of suffixes that begin with it. A candidate is dropped if it and the candidate one position
    before it each have a single occurrence left, at consecutive positions of the text: the earlier one stays
    longer.

    Args:
        tokens: Token ids of the text, shape (n,).
        suffixes: Suffix array of `tokens`, int64, shape (n,).
        passage: Token ids of the passage, shape (m,).

    Returns:
        Length of the part in characters, and the position in `passage` at which it begins; (0, 0) if no
        character occurs in the text.
    """
    start = np.arange(passage.size)
    low, high = np.zeros(passage.size, np.int64), np.full(passage.size, suffixes.size)
    length, found = 0, 0
    while True:
        inside = start + length < passage.size
        start, low, high = start[inside], low[inside], high[inside]
        goal = passage[start + length].astype(np.int64)
        low, high = (
            _bisect(tokens, suffixes, low, high, length, goal),
            _bisect(tokens, suffixes, low, high, length, goal + 1),
        )
        occurs = low < high
        if not occurs.any():
            return length, found
        start, low, high = start[occurs], low[occurs], high[occurs]
        length, found = length + 1, int(start[0])
        source = np.where(high - low == 1, suffixes[low], -2)
        within = (np.diff(start) == 1) & (np.diff(source) == 1) & (source[:-1] >= 0)
        keep = np.concatenate([[True], ~within])
        start, low, high = start[keep], low[keep], high[keep]


def _bisect(
    tokens: Tokens, suffixes: Positions, low: Positions, high: Positions, depth: int, goal: Positions
) -> Positions:
    """Return the index of the first suffix in each range [low, high) whose character at `depth` is >= `goal`.

    All suffixes of a range are equal up to `depth`, so these characters are sorted. The end of the text
    counts as smaller than every character. For a range without such a suffix the index is `high`.
    """
    low, high = low.copy(), high.copy()
    while (low < high).any():
        middle = (low + high) // 2
        place = suffixes[np.minimum(middle, suffixes.size - 1)] + depth
        character = np.where(
            place < tokens.size, tokens[np.minimum(place, tokens.size - 1)].astype(np.int64), -1
        )
        below = (character < goal) & (low < high)
        low, high = np.where(below, middle + 1, low), np.where(below | (low >= high), high, middle)
    return low
