"""Interpolated Kneser-Ney n-grams: the baseline that counts, and knows no network.

    p_k(c | h) = (max(n(h c) - D, 0) + D T(h) q_{k-1}(c | h')) / n(h)        q_0(c) = 1 / V

h are the k-1 characters before c, h' the last k-2 of them. n counts in the training text (of h only where a
character follows), T(h) is how many different characters follow h there. q has the same form, but where p
counts how often h c occurs, q counts after how many different characters it does: what only ever follows
one context says little about the others. After a context that was never seen, the lower order answers.

D = n_1 / (n_1 + 2 n_2) of each order's own counts, n_1 of which are 1 and n_2 are 2 (Ney, Essen and Kneser
1994); 1/2 where none is 1. Kneser and Ney (1995), "Improved backing-off for m-gram language modeling", in
the interpolated form of Chen and Goodman (1998), "An empirical study of smoothing techniques", section 2.7.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]
Codes = NDArray[np.uint64]
Probabilities = NDArray[np.float64]
MAX_ORDER = 8


def orders(vocabulary: int) -> range:
    """The orders from 1 to 8 whose n-grams, as numbers in base V, fit into 64 bits."""
    return range(1, 1 + max(k for k in range(1, MAX_ORDER + 1) if vocabulary**k <= 2**64))


def ngram_losses(train: Tokens, scored: Tokens, vocabulary: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """For each order from 1 the bits that every character of `scored` but the first costs, shape (N - 1,).

    These are the predictions that a network makes. Where fewer than k-1 characters precede one, the
    order that they suffice for answers. train: at least one character. One order's counts are in memory at
    a time: some 40 bytes for each character of `train`.
    """
    q = np.full(scored.size, 1 / vocabulary)
    p = q.copy()
    for order in orders(vocabulary):
        grams, counts = np.unique(encode_ngrams(train, vocabulary, order), return_counts=True)
        if order > 1:  # q of the order below: after how many different characters each of its n-grams comes
            tails, kinds = np.unique(grams % np.uint64(vocabulary ** (order - 1)), return_counts=True)
            interpolate(tails, kinds, encode_ngrams(scored, vocabulary, order - 1), vocabulary, q)
            p[order - 1 :] = q[order - 1 :]
        interpolate(grams, counts, encode_ngrams(scored, vocabulary, order), vocabulary, p)
        yield order, -np.log2(p[1:])


def interpolate(
    grams: Codes, counts: NDArray[np.intp], asked: Codes, vocabulary: int, lower: Probabilities
) -> None:
    """Turn the lower order's probabilities into this one's, in place.

    grams: the sorted n-grams, each counted `counts` times. asked: the n-grams that end with each character
    of the scored text, except the first order-1, which stay as they are.
    """
    if not (grams.size and asked.size):
        return
    base, discount = np.uint64(vocabulary), absolute_discount(counts)
    of_gram = grams // base  # the context of each n-gram; sorted, as the n-grams are
    first = np.flatnonzero(np.concatenate([[True], of_gram[1:] != of_gram[:-1]]))
    contexts, seen = of_gram[first], np.add.reduceat(counts, first)
    followers = np.diff(first, append=grams.size)

    distinct, places = np.unique(asked, return_inverse=True)
    n_gram = lookup_counts(grams, counts, distinct)[places]
    n_context = lookup_counts(contexts, seen, distinct // base)[places]
    spare = discount * lookup_counts(contexts, followers, distinct // base)[places]
    p = lower[lower.size - asked.size :]
    np.copyto(
        p, (np.maximum(n_gram - discount, 0) + spare * p) / np.maximum(n_context, 1), where=n_context > 0
    )


def absolute_discount(counts: NDArray[np.intp]) -> float:
    """D: what is taken from every count and given to the lower order, above 0 and at most 1."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once else 0.5


def lookup_counts(keys: Codes, values: NDArray[np.intp], asked: Codes) -> NDArray[np.intp]:
    """The value of each key that is asked for, 0 for one that there is not. keys: sorted."""
    at = np.minimum(np.searchsorted(keys, asked), keys.size - 1)
    return np.where(keys[at] == asked, values[at], 0)


def encode_ngrams(tokens: Tokens, vocabulary: int, order: int) -> Codes:
    """Each run of `order` characters as one number in base V, shape (N - order + 1,), or empty."""
    count = max(0, tokens.size - order + 1)
    code = np.zeros(count, np.uint64)
    for k in range(order):
        code *= np.uint64(vocabulary)
        code += tokens[k : k + count]
    return code
