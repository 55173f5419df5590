"""What a score is to be read against: models that know no context, and two that know a little.

All are estimated on the training split and scored on another, in bits per character.
"""

from math import log2

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]


def uniform(vocabulary: int) -> float:
    """log2 V: every character equally likely."""
    return log2(vocabulary)


def ngram(train: Tokens, scored: Tokens, vocabulary: int, order: int) -> float:
    """Bits per character of an add-one n-gram: p(c | context) = (n(context c) + 1) / (n(context) + V).

    order 1 is the unigram. The first order-1 characters of `scored` are not scored for want of context.
    Laplace's rule of succession; see Jurafsky and Martin, "Speech and Language Processing", chapter 3.
    """
    cells = vocabulary**order
    counts = np.bincount(codes(train, vocabulary, order), minlength=cells)
    seen = counts.reshape(-1, vocabulary).sum(axis=1)
    code = codes(scored, vocabulary, order)
    p = (counts[code] + 1) / (seen[code // vocabulary] + vocabulary)
    return float(-np.log2(p).mean())


def codes(tokens: Tokens, vocabulary: int, order: int) -> NDArray[np.int64]:
    """Each run of `order` characters as one number in base V, shape (N - order + 1,)."""
    count = tokens.size - order + 1
    code = np.zeros(count, np.int64)
    for k in range(order):
        code = code * vocabulary + tokens[k : k + count]
    return code


def baselines(train: Tokens, scored: Tokens, vocabulary: int) -> dict[str, float]:
    """Bits per character by name; bigram and trigram only where their tables stay small."""
    scores = {"uniform": uniform(vocabulary)}
    for name, order in (("unigram", 1), ("bigram", 2), ("trigram", 3)):
        if vocabulary**order <= 2**24 and scored.size >= order:
            scores[name] = ngram(train, scored, vocabulary, order)
    return scores
