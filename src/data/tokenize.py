"""A text to normalized text and token file, in memory that does not grow with the text.

Two passes: the first writes the normalized text and learns which characters there are, the second reads that
file and writes the ids. Python code runs once a piece and once a distinct character; the rest is NumPy's.
"""

import codecs
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from src.data.normalization import Normalization, Normalizer, code_points
from src.data.vocabulary import Vocabulary

PIECE = 2**17  # bytes at a time: what is made of them stays in the processor's cache


def write_normalized(pieces: Iterable[str], normalization: Normalization, file: Path) -> tuple[int, str]:
    """Write a text normalized, in UTF-8. The number of characters written, and which they are, sorted."""
    normalizer, count = Normalizer(normalization), 0
    with file.open("wb") as out:
        for piece in pieces:
            normal = normalizer.feed(piece)
            count += len(normal)
            out.write(normal.encode(errors="surrogatepass"))
    return count, normalizer.characters()


def write_tokens(text: Path, count: int, vocabulary: Vocabulary, file: Path) -> str:
    """Write the ids of the `count` characters in a file of UTF-8 as an .npy file; sha256 of the ids."""
    codes = code_points(vocabulary.characters)
    ids = np.zeros(int(codes.max()) + 1, vocabulary.dtype)
    ids[codes] = np.arange(len(vocabulary))
    of_ascii = ids.tobytes()[:256].ljust(256) if ids.itemsize == 1 else None
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    digest = hashlib.sha256()
    header = np.lib.format.header_data_from_array_1_0(ids) | {"shape": (count,)}
    with text.open("rb") as source, file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        while piece := source.read(PIECE):
            if of_ascii and piece.isascii():  # three times as fast
                tokens = piece.translate(of_ascii)
            else:
                tokens = ids.take(code_points(decoder.decode(piece))).tobytes()
            digest.update(tokens)
            out.write(tokens)
    return digest.hexdigest()
