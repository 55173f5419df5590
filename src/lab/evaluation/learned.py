"""What counting, compressing and judging know of the training split: bounded, as their memory is to be.

A suffix array takes 60 bytes a character, n-grams 40, so that of a long text all three know the end only. A
network knows all of it, and an n-gram of more would be better: where the bound bites, the tables say so.
"""

import numpy as np
from numpy.typing import NDArray

from src.text.corpus import Corpus

Tokens = NDArray[np.unsignedinteger]
MOST = 5_000_000  # characters: all of our own corpora, and some 300 MB


def learned(corpus: Corpus) -> Tokens:
    """The last 5,000,000 ids of the training split, all of a shorter one."""
    return corpus.split("train")[-MOST:]
