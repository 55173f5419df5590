"""Baselines of a score on the same split: a uniform guess, n-grams and general compressors.

All are estimated on the training split and evaluated on another one, in bits per character. They are computed
once for each corpus and both lengths, and kept in its folder. What a compressor pays for a text after it has
read another one:

    bits per character = 8 (C(train + test) - C(train)) / len(test)        C: bytes, compressed

Each reads the ids, one byte a character (two where the vocabulary has more than 256). How far back they look
differs, and with it what the training text is worth to them: gzip 32 kB; bzip2 its current block of 900 kB,
so of a longer text it knows the last part only; xz everything, up to 64 MiB.

A suffix array takes 60 bytes a character and n-grams 40, so baselines and text metrics know only the end of a
long training split (`reference_tokens`). A network knows all of it, and an n-gram of more would be better:
the tables say where the bound applies.
"""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from functools import partial
from math import log2

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from src.common.errors import UserError
from src.common.files import load_json, write_json
from src.data.corpus import Corpus
from src.evaluation.ngram import ngram_losses

Tokens = NDArray[np.unsignedinteger]
FILE = "baselines.json"


class BaselineFile(TypedDict):
    """baselines.json. n_reference, n_scored: characters of the reference text and of the scored one."""

    format: int
    n_reference: int
    n_scored: int
    bpc: dict[str, float]


FORMAT = 2  # of the file; increase it when a baseline is computed differently


def baselines(train: Tokens, scored: Tokens, vocabulary: int) -> dict[str, float]:
    """Bits per character by name: uniform, unigram, ngram2 to ngram8, gzip, bzip2, xz.

    Orders whose counts do not fit are left out: of 257 distinct characters the 8th, of 5,000 the 6th.
    """
    bits = {"uniform": log2(vocabulary)}
    for order, loss in ngram_losses(train, scored, vocabulary):
        bits[metric_name(order)] = float(loss.mean())
    return bits | compressed_bits(train, scored)


def cached_baselines(corpus: Corpus, scored: Tokens) -> dict[str, float]:
    """The same for a corpus's final split, read from its folder if they are stored there.

    scored: that split or its beginning. Raises UserError for a file that is damaged. A folder that cannot
    be written to is only read.
    """
    file, train = corpus.folder / FILE, reference_tokens(corpus)
    key = {"format": FORMAT, "n_reference": train.size, "n_scored": scored.size}
    if file.exists():
        try:
            kept = load_json(file, BaselineFile)
            if (kept["format"], kept["n_reference"], kept["n_scored"]) == tuple(key.values()):
                return kept["bpc"]
        except (OSError, ValueError) as error:
            raise UserError(
                f"data_dir: expected whole baselines of a corpus, got damaged ones in {file} ({error}): "
                "delete that file; it is computed again"
            ) from error
    bits = baselines(train, scored, len(corpus.vocabulary))
    if os.access(corpus.folder, os.W_OK):
        write_json(file, {**key, "bpc": bits})
    return bits


def best_ngram_losses(corpus: Corpus, scored: Tokens, bits: dict[str, float]) -> NDArray[np.float64]:
    """Loss of the best n-gram on each character of `scored` but the first, in bits, (N - 1,).

    It is counted again each time, which takes up to a second for 5 MB; kept, it would take as many numbers on
    disk as there are characters. bits: of `cached_baselines`.
    """
    name = best(bits, compressor=False)
    losses = ngram_losses(reference_tokens(corpus), scored, len(corpus.vocabulary))
    return next(loss for order, loss in losses if metric_name(order) == name)


def metric_name(order: int) -> str:
    """An n-gram's name among the metrics."""
    return "unigram" if order == 1 else f"ngram{order}"


def display_name(name: str) -> str:
    """A baseline's name in a table."""
    reach = {"gzip": "window of 32 kB", "bzip2": "blocks of 900 kB", "xz": "all of it"}
    if name in COMPRESSORS:
        return f"{name}, {reach[name]}"
    return f"{name.removeprefix('ngram')}-gram" if name.startswith("ngram") else name


def best(bits: dict[str, float], compressor: bool) -> str:
    """The name of the best n-gram (the unigram among them), or of the best compressor."""
    names = [name for name in bits if name != "uniform" and (name in COMPRESSORS) == compressor]
    return min(names, key=bits.__getitem__)


XZ_MAX_DICTIONARY = 64 * 2**20  # of `xz -9e`
XZ_MIN_DICTIONARY = 4096  # the least that the format allows


def xz_compress(data: bytes) -> bytes:
    """Compress as `xz -9e`, with a dictionary no longer than the data: it takes ten times as much memory."""
    dictionary = min(XZ_MAX_DICTIONARY, max(XZ_MIN_DICTIONARY, 1 << (len(data) - 1).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return lzma.compress(data, format=lzma.FORMAT_XZ, filters=filters)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=9, mtime=0),
    "bzip2": partial(bz2.compress, compresslevel=9),
    "xz": xz_compress,
}


def compressed_bits(train: Tokens, scored: Tokens) -> dict[str, float]:
    """Bits per character of `scored` by compressor; scored must have a character."""
    before, both = train.tobytes(), train.tobytes() + scored.tobytes()
    return {
        name: 8 * (len(compress(both)) - len(compress(before))) / scored.size
        for name, compress in COMPRESSORS.items()
    }


MAX_REFERENCE_CHARS = 5_000_000  # characters: all of our own corpora, and some 300 MB


def reference_tokens(corpus: Corpus) -> Tokens:
    """The last 5,000,000 ids of the training split, all of a shorter one."""
    return corpus.split("train")[-MAX_REFERENCE_CHARS:]
