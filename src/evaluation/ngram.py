"""Interpolated Kneser-Ney n-grams: a baseline that only counts, without a network.

    p_k(c | h) = (max(n(h c) - D, 0) + D T(h) q_{k-1}(c | h')) / n(h)        q_0(c) = 1 / V

h are the k-1 characters before c, and h' the last k-2 of them. n counts in the training text (it counts h
only where a character follows). T(h) is the number of different characters that follow h there. q has the
same form, but where p counts how often h c occurs, q counts after how many different characters it occurs: a
character that follows only one context says little about other contexts. After a context that does not occur
in the training text, the lower order is used.

D = n_1 / (n_1 + 2 n_2), where n_1 and n_2 are how many counts of this order are 1 and 2 (Ney, Essen and
Kneser 1994); D = 1/2 if no count is 1. Source: Kneser and Ney (1995), "Improved backing-off for m-gram
language modeling", in the interpolated form of Chen and Goodman (1998), "An empirical study of smoothing
techniques", section 2.7.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]
Codes = NDArray[np.uint64]
Probabilities = NDArray[np.float64]
MAX_ORDER = 8


def orders(vocabulary: int) -> range:
    """Return the orders from 1 to 8 whose n-grams, as numbers in base V, fit into 64 bits.

    Args:
        vocabulary: Vocabulary size V.

    Returns:
        The orders, ascending from 1.
    """
    return range(1, 1 + max(k for k in range(1, MAX_ORDER + 1) if vocabulary**k <= 2**64))


def ngram_losses(train: Tokens, scored: Tokens, vocabulary: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Compute the loss of each n-gram order on every character of a text except the first.

    A network predicts the same characters. If fewer than k-1 characters precede a character, the highest
    order for which they suffice predicts it. Only the counts of one order are in memory at a time: about 40
    bytes for each character of `train`.

    Args:
        train: Token ids of the reference text, shape (M,), M >= 1.
        scored: Token ids of the scored text, shape (N,).
        vocabulary: Vocabulary size V.

    Yields:
        The order, from 1 upwards, and its losses in bits, float64, shape (N - 1,).
    """
    q = np.full(scored.size, 1 / vocabulary)
    p = q.copy()
    for order in orders(vocabulary):
        grams, counts = np.unique(_encode_ngrams(train, vocabulary, order), return_counts=True)
        if order > 1:  # q of the lower order: how many different characters precede each n-gram
            tails, kinds = np.unique(grams % np.uint64(vocabulary ** (order - 1)), return_counts=True)
            _interpolate(tails, kinds, _encode_ngrams(scored, vocabulary, order - 1), vocabulary, q)
            p[order - 1 :] = q[order - 1 :]
        _interpolate(grams, counts, _encode_ngrams(scored, vocabulary, order), vocabulary, p)
        yield order, -np.log2(p[1:])


def _interpolate(
    grams: Codes, counts: NDArray[np.intp], asked: Codes, vocabulary: int, lower: Probabilities
) -> None:
    """Replace the probabilities of the lower order by those of this order, in place.

    `counts` has for each distinct n-gram of the training text, sorted, its count for p, or the number of
    different characters before it for q. `asked` are the n-grams that end at each character of the scored
    text except the first order-1; for these characters `lower`, shape (N,), is not changed.
    """
    if not (grams.size and asked.size):
        return
    base, once, twice = np.uint64(vocabulary), int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    of_gram = grams // base  # the context of each n-gram; sorted, as the n-grams are
    first = np.flatnonzero(np.concatenate([[True], of_gram[1:] != of_gram[:-1]]))
    contexts, seen = of_gram[first], np.add.reduceat(counts, first)
    followers = np.diff(first, append=grams.size)

    distinct, places = np.unique(asked, return_inverse=True)
    n_gram = _lookup_counts(grams, counts, distinct)[places]
    n_context = _lookup_counts(contexts, seen, distinct // base)[places]
    spare = discount * _lookup_counts(contexts, followers, distinct // base)[places]
    p = lower[lower.size - asked.size :]
    np.copyto(
        p, (np.maximum(n_gram - discount, 0) + spare * p) / np.maximum(n_context, 1), where=n_context > 0
    )


def _lookup_counts(keys: Codes, values: NDArray[np.intp], asked: Codes) -> NDArray[np.intp]:
    """Return the value of each key in `asked`, 0 for an unknown key; `keys` are sorted, at least one."""
    at = np.minimum(np.searchsorted(keys, asked), keys.size - 1)
    return np.where(keys[at] == asked, values[at], 0)


def _encode_ngrams(tokens: Tokens, vocabulary: int, order: int) -> Codes:
    """Return each sequence of `order` consecutive characters as one number in base V, (N - order + 1,)."""
    count = max(0, tokens.size - order + 1)
    code = np.zeros(count, np.uint64)
    for k in range(order):
        code *= np.uint64(vocabulary)
        code += tokens[k : k + count]
    return code
