"""What a score is to be read against, on the same split: knowing nothing, counting, and compressing.

All are estimated on the training split (of a long one, on its end: learned.py) and pay for another, in bits
per character. They depend on the corpus and on how much of it is read, so they are reckoned once and
kept, with both lengths, in its folder, whose name is the digest of the corpus.
"""

import json
import os
from math import log2

import numpy as np
from numpy.typing import NDArray

from src.errors import InputError
from src.files import write_json
from src.lab.evaluation.compressors import COMPRESSORS, compressed_bits
from src.lab.evaluation.learned import learned
from src.lab.evaluation.ngrams import losses, orders
from src.text.corpus import Corpus

Tokens = NDArray[np.unsignedinteger]
FILE = "baselines.json"
FORMAT = 2  # of the file: another one where a baseline is reckoned otherwise


def baselines(train: Tokens, scored: Tokens, vocabulary: int) -> dict[str, float]:
    """Bits per character by name: uniform, unigram, ngram2 to ngram8, gzip, bzip2, xz.

    Orders whose counts do not fit are left out: of 257 distinct characters the 8th, of 5,000 the 6th.
    """
    bits = {"uniform": log2(vocabulary)}
    for order, loss in losses(train, scored, vocabulary):
        bits[name_of(order)] = float(loss.mean())
    return bits | compressed_bits(train, scored)


def baselines_of(corpus: Corpus, scored: Tokens) -> dict[str, float]:
    """The same for a corpus' final split, read from its folder where they stand there.

    scored: that split or its beginning. Raises InputError for a file that is damaged. A folder that cannot
    be written to is only read.
    """
    file, train = corpus.folder / FILE, learned(corpus)
    key = {"format": FORMAT, "learned": train.size, "scored": scored.size}
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["format"] == FORMAT and {name: kept[name] for name in key} == key:
                return {str(name): float(bits) for name, bits in kept["bpc"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"data_dir: expected whole baselines of a corpus, got damaged ones in {file} ({error}): "
                "delete that file, it is made again"
            ) from error
    bits = baselines(train, scored, len(corpus.vocabulary))
    if os.access(corpus.folder, os.W_OK):
        write_json(file, {**key, "bpc": bits})
    return bits


def best_ngram_losses(corpus: Corpus, scored: Tokens, bits: dict[str, float]) -> NDArray[np.float64]:
    """What the best n-gram pays for each character of `scored` but the first, in bits, (N - 1,).

    bits: of baselines_of. Counted again each time: up to a second for 5 MB, against as many numbers on disk
    as are scored.
    """
    order = next(k for k in orders(len(corpus.vocabulary)) if name_of(k) == best(bits, compressor=False))
    return next(loss for k, loss in losses(learned(corpus), scored, len(corpus.vocabulary)) if k == order)


def name_of(order: int) -> str:
    """An n-gram's name among the metrics."""
    return "unigram" if order == 1 else f"ngram{order}"


def label(name: str) -> str:
    """A baseline's name in a table."""
    reach = {"gzip": "window of 32 kB", "bzip2": "blocks of 900 kB", "xz": "all of it"}
    if name in COMPRESSORS:
        return f"{name}, {reach[name]}"
    return f"{name.removeprefix('ngram')}-gram" if name.startswith("ngram") else name


def best(bits: dict[str, float], compressor: bool) -> str:
    """The name of the best n-gram (the unigram among them), or of the best compressor."""
    names = [name for name in bits if name != "uniform" and (name in COMPRESSORS) == compressor]
    return min(names, key=bits.__getitem__)
