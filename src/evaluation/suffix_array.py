"""Suffix array: find the passages of one text in another.

The array lists the places of a text in the alphabetical order of what begins there, so that all places
where a passage occurs stand next to each other (Manber and Myers 1993). It is built by prefix doubling:
sorted by 8 characters, then by 16, 32, ..., each time only the places that are still equal (Larsson and
Sadakane 2007).
"""

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]


def suffix_array(tokens: Tokens) -> NDArray[np.int64]:
    """The places 0..N-1 of a text in the order of the suffixes that begin there. Memory: 60 bytes a place."""
    n = tokens.size
    base = int(tokens.max(initial=0)) + 2  # 0 is the end
    step = max(k for k in (1, 2, 4, 8) if base**k <= 2**64)
    key = np.zeros(n, np.uint64)
    for k in range(step):
        key *= np.uint64(base)
        key[: max(0, n - k)] += tokens[k:].astype(np.uint64) + np.uint64(1)
    order = np.argsort(key, kind="stable")
    rank = np.empty(n + 1, np.int64)  # of each place: where the run of those equal to it begins in `order`
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


def longest_copy(tokens: Tokens, suffixes: NDArray[np.int64], passage: Tokens) -> tuple[int, int]:
    """Find the longest part of a passage that occurs in a text; the first one where several are longest.

    The candidates, one for each position of the passage, grow together by one character at a time. Each keeps
    the range of suffixes that begin with it. A candidate that begins inside another one with a single source
    left cannot become longer than that one, and is dropped.

    Args:
        tokens: Token ids of the text (n,).
        suffixes: Suffix array of `tokens` (n,).
        passage: Token ids of the passage (m,).

    Returns:
        Length of the part, and the position in `passage` where it begins.
    """
    start = np.arange(passage.size)
    low, high = np.zeros(passage.size, np.int64), np.full(passage.size, suffixes.size)
    length, found = 0, 0
    while True:
        inside = start + length < passage.size
        start, low, high = start[inside], low[inside], high[inside]
        goal = passage[start + length].astype(np.int64)
        low, high = (
            bisect(tokens, suffixes, low, high, length, goal),
            bisect(tokens, suffixes, low, high, length, goal + 1),
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


def bisect(
    tokens: Tokens,
    suffixes: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    depth: int,
    goal: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The first suffix in each run [low, high) whose character at `depth` is at least `goal`, else high."""
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
