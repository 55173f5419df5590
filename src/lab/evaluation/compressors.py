"""What general compressors pay for a text after they have read another one.

    bits per character = 8 (C(train + test) - C(train)) / len(test)        C: bytes, compressed

Each reads the ids, one byte a character (two where the vocabulary has more than 256). How far back they
look differs, and with it what the training text is worth to them: gzip 32 kB; bzip2 its current block of
900 kB, so of a longer text it knows the last part only; xz everything, up to 64 MiB.
"""

import bz2
import gzip
import lzma
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.unsignedinteger]
XZ_LONGEST = 64 * 2**20  # the dictionary of `xz -9e`
XZ_SHORTEST = 4096  # the least that the format allows


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=9, mtime=0)


def bzipped(data: bytes) -> bytes:
    return bz2.compress(data, compresslevel=9)


def xz(data: bytes) -> bytes:
    """As `xz -9e` does it, the dictionary no longer than the data: the memory is ten times the dictionary."""
    dictionary = min(XZ_LONGEST, max(XZ_SHORTEST, 1 << (len(data) - 1).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return lzma.compress(data, format=lzma.FORMAT_XZ, filters=filters)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzipped, "bzip2": bzipped, "xz": xz}


def compressed_bits(train: Tokens, scored: Tokens) -> dict[str, float]:
    """Bits per character of `scored` by compressor; scored must have a character."""
    before, both = train.tobytes(), train.tobytes() + scored.tobytes()
    return {
        name: 8 * (len(compress(both)) - len(compress(before))) / scored.size
        for name, compress in COMPRESSORS.items()
    }
