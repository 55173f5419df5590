"""Baselines of a score on the same split: a uniform guess, n-grams and general compressors.

All baselines are estimated on the training split and evaluated on another split, in bits per character. They
are computed once for each corpus and both lengths (of the reference text and of the scored text), and stored
in the folder of the corpus. The score of a compressor is the number of additional bytes that it needs for a
text after the training text:

    bits per character = 8 (C(train + test) - C(train)) / len(test)        C: compressed size in bytes

Each compressor reads the ids, one byte per character (two if the vocabulary has more than 256 characters).
The compressors look back over different distances, so the training text helps them to different degrees: gzip
looks back 32 kB; bzip2 only within its current block of 900 kB, so it uses only the last part of a longer
text; xz looks back over the whole text, up to 64 MiB.

A suffix array takes 60 bytes per character and n-grams take 40, so baselines and text metrics use only the
end of a long training split (`reference_tokens`). The network has read the whole split, and an n-gram model
of more text would be better: the tables say when this limit applies.
"""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from functools import partial
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.common.errors import UserError
from src.common.files import load_json, record_schema, write_json
from src.data.corpus import Corpus
from src.evaluation.ngram import ngram_losses

Tokens = NDArray[np.unsignedinteger]
FILE = "baselines.json"
# Content of the file; the lengths are those of the reference text and of the scored text, in characters.
SCHEMA = record_schema(format=int, n_reference=int, n_scored=int, bpc=dict[str, float])
FORMAT = 2  # version of the file; increase it when a baseline is computed differently


def baselines(train: Tokens, scored: Tokens, vocabulary: int) -> dict[str, float]:
    """Compute the bits per character of every baseline.

    Orders whose n-grams do not fit into 64 bits are left out: with 257 distinct characters the 8th, with
    5,000 the 6th and above.

    Args:
        train: Token ids of the reference text, shape (M,), M >= 1.
        scored: Token ids of the scored text, shape (N,), N >= 2. The n-grams predict all of its characters
            except the first.
        vocabulary: Vocabulary size V.

    Returns:
        Bits per character, by name: uniform, unigram, ngram2 to ngram8, gzip, bzip2, xz.
    """
    bits = {"uniform": log2(vocabulary)}
    for order, loss in ngram_losses(train, scored, vocabulary):
        bits[_metric_name(order)] = float(loss.mean())
    return bits | compressed_bits(train, scored)


def cached_baselines(corpus: Corpus, scored: Tokens) -> dict[str, float]:
    """Return the baselines of the final split of a corpus, from the file in its folder if it matches.

    The file matches if its format and both lengths are the same; otherwise the baselines are computed and
    stored. They are not stored if the folder is not writable.

    Args:
        corpus: Corpus with the training split and the folder of the file.
        scored: Token ids of the final split or of its beginning, shape (N,).

    Returns:
        Bits per character, by name, as `baselines` returns them.

    Raises:
        UserError: The stored file is damaged.
    """
    file, train = corpus.folder / FILE, reference_tokens(corpus)
    key = {"format": FORMAT, "n_reference": train.size, "n_scored": scored.size}
    if file.exists():
        try:
            kept: dict[str, Any] = load_json(file, SCHEMA)
            bits: dict[str, float] = kept.pop("bpc")
            if kept == key:
                return bits
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
    """Compute the loss of the best n-gram model on each character of a text except the first.

    The n-grams are counted again at each call, which takes up to a second for 5 MB. Stored losses would take
    as many numbers on disk as the text has characters.

    Args:
        corpus: Corpus whose training split is the reference text.
        scored: Token ids of the scored text, shape (N,).
        bits: Bits per character of each baseline by name, from `cached_baselines`; they select the best
            order.

    Returns:
        Losses in bits, float64, shape (N - 1,).
    """
    name = best(bits, compressor=False)
    losses = ngram_losses(reference_tokens(corpus), scored, len(corpus.vocabulary))
    return next(loss for order, loss in losses if _metric_name(order) == name)


def _metric_name(order: int) -> str:
    """Return the name of an n-gram model in the metrics, for example `unigram` or `ngram2`."""
    return "unigram" if order == 1 else f"ngram{order}"


def display_name(name: str) -> str:
    """Return the name of a baseline in a table.

    Args:
        name: Key of `baselines`, for example `ngram5` or `gzip`.

    Returns:
        For example `5-gram`; for a compressor also how far it looks back: `gzip, window of 32 kB`.
    """
    reach = {"gzip": "window of 32 kB", "bzip2": "blocks of 900 kB", "xz": "all of it"}
    if name in COMPRESSORS:
        return f"{name}, {reach[name]}"
    return f"{name.removeprefix('ngram')}-gram" if name.startswith("ngram") else name


def best(bits: dict[str, float], compressor: bool) -> str:
    """Select the best n-gram model or the best compressor.

    Args:
        bits: Bits per character of each baseline, by name.
        compressor: True selects among the compressors, False among the n-gram models (the unigram included).

    Returns:
        The name with the fewest bits per character.
    """
    names = [name for name in bits if name != "uniform" and (name in COMPRESSORS) == compressor]
    return min(names, key=bits.__getitem__)


XZ_MAX_DICTIONARY = 64 * 2**20  # bytes, the dictionary of `xz -9e`
XZ_MIN_DICTIONARY = 4096  # bytes, the smallest dictionary that the format allows


def xz_compress(data: bytes) -> bytes:
    """Compress as `xz -9e`, with a dictionary that is not larger than the data needs.

    Compression takes about ten times the memory of its dictionary. The dictionary is the size of the data,
    rounded up to a power of two, between 4 KiB and 64 MiB.

    Args:
        data: Bytes to compress.

    Returns:
        The compressed bytes, in the .xz format.
    """
    dictionary = min(XZ_MAX_DICTIONARY, max(XZ_MIN_DICTIONARY, 1 << (len(data) - 1).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return lzma.compress(data, format=lzma.FORMAT_XZ, filters=filters)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=9, mtime=0),
    "bzip2": partial(bz2.compress, compresslevel=9),
    "xz": xz_compress,
}


def compressed_bits(train: Tokens, scored: Tokens) -> dict[str, float]:
    """Compute the bits per character of each compressor, by the formula at the top of this module.

    Args:
        train: Token ids of the reference text, shape (M,).
        scored: Token ids of the scored text, same dtype as `train`, shape (N,), N >= 1.

    Returns:
        Bits per character, by name of the compressor.
    """
    before, both = train.tobytes(), train.tobytes() + scored.tobytes()
    return {
        name: 8 * (len(compress(both)) - len(compress(before))) / scored.size
        for name, compress in COMPRESSORS.items()
    }


MAX_REFERENCE_CHARS = 5_000_000  # characters: all of our own corpora, and about 300 MB of memory


def reference_tokens(corpus: Corpus) -> Tokens:
    """Return the reference text: the last 5,000,000 ids of the training split.

    Args:
        corpus: Corpus whose training split is used.

    Returns:
        Token ids, uint8 or uint16, shape (M,); all of the split if it is shorter.
    """
    return corpus.split("train")[-MAX_REFERENCE_CHARS:]
