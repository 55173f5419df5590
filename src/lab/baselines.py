"""What a score is to be read against: models that know no context, and two that know a little.

All are estimated on the training split and scored on another, in bits per character.
"""

from collections.abc import Iterator
from math import log2

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]
PIECE = 2**16  # characters at a time


def uniform(vocabulary: int) -> float:
    """log2 V: every character equally likely."""
    return log2(vocabulary)


def ngram(train: Tokens, scored: Tokens, vocabulary: int, order: int) -> float:
    """Bits per character of an add-one n-gram: p(c | context) = (n(context c) + 1) / (n(context) + V).

    order 1 is the unigram. The first order-1 characters of `scored` are not scored for want of context.
    Laplace's rule of succession; see Jurafsky and Martin, "Speech and Language Processing", chapter 3.
    """
    counts, bits = np.zeros(vocabulary**order, np.int64), 0.0
    for code in codes(train, vocabulary, order):
        np.add.at(counts, code, 1)
    seen = counts.reshape(-1, vocabulary).sum(axis=1)
    for code in codes(scored, vocabulary, order):
        p = (counts[code] + 1) / (seen[code // vocabulary] + vocabulary)
        bits -= float(np.log2(p).sum())
    return bits / (scored.size - order + 1)


def codes(tokens: Tokens, vocabulary: int, order: int) -> Iterator[NDArray[np.int64]]:
    """Each run of `order` characters as one number in base V, N - order + 1 in all, in pieces."""
    for start in range(0, tokens.size - order + 1, PIECE):
        piece = tokens[start : start + PIECE + order - 1]
        count = piece.size - order + 1
        code = np.zeros(count, np.int64)
        for k in range(order):
            code *= vocabulary
            code += piece[k : k + count]
        yield code


def baselines(train: Tokens, scored: Tokens, vocabulary: int) -> dict[str, float]:
    """Bits per character by name; bigram and trigram only where their tables stay small."""
    scores = {"uniform": uniform(vocabulary)}
    for name, order in (("unigram", 1), ("bigram", 2), ("trigram", 3)):
        if vocabulary**order <= 2**24 and scored.size >= order:
            scores[name] = ngram(train, scored, vocabulary, order)
    return scores
