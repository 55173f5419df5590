"""Characters to ids and back, and a text to a token file in memory that does not grow with the text.

A text is prepared in two passes: the first writes the normalized text and collects its characters, the second
reads that file and writes the ids. Python code runs once per piece and once per distinct character; NumPy
does the rest.
"""

import codecs
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.common.errors import UserError
from src.data.normalization import Normalization, Normalizer, code_points, from_code_points

MAX_VOCABULARY = 2**16  # ids have 8 or 16 bits
PIECE = 2**17  # bytes read at a time: few enough for their ids to stay in the CPU cache
MAX_SHOWN = 20  # characters of a vocabulary in a message


def check_size(size: int, most: int) -> None:
    """Check that a vocabulary is not too large: its weights and logits would need too much memory.

    Args:
        size: Number of distinct characters.
        most: Largest allowed number, `data.max_vocabulary` of the config.

    Raises:
        UserError: The vocabulary is larger.
    """
    if size > most:
        raise UserError(
            f"data.max_vocabulary: expected at most {most} distinct characters, got {size}: usually "
            "data.encoding is not the encoding of the text, or the file is not a text (data.encoding=bytes "
            f"gives at most 256); for a script with so many characters set a larger data.max_vocabulary, at "
            f"most {MAX_VOCABULARY}"
        )


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a corpus.

    Attributes:
        characters: The characters in the order of their code points; the id of a character is its position.

    Examples:
        >>> v = Vocabulary.of("banana")
        >>> v.characters, v.encode("nab").tolist(), v.decode(np.array([1, 0]))
        ('abn', [2, 0, 1], 'ba')
    """

    characters: str

    @classmethod
    def of(cls, text: str, most: int = MAX_VOCABULARY) -> "Vocabulary":
        """Build the vocabulary of a text.

        Args:
            text: The text, or its distinct characters in any order.
            most: Largest allowed number of distinct characters; by default, what ids of 16 bits can number.

        Returns:
            The vocabulary.

        Raises:
            UserError: The text has more distinct characters.
        """
        distinct = np.unique(code_points(text))
        check_size(distinct.size, most)
        return cls(from_code_points(distinct))

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """Type of the ids: uint8 for at most 256 characters, else uint16."""
        return np.dtype(np.uint8) if len(self) <= 256 else np.dtype(np.uint16)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str, name: str = "prompt") -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Encode a text as ids.

        Args:
            text: The text, normalized as that of the corpus.
            name: What the text is, for the message.

        Returns:
            Ids, shape (len(text),), uint8 for a vocabulary of at most 256 characters, else uint16.

        Raises:
            UserError: The vocabulary lacks a character of the text; the message names the first such
                character.
        """
        codes, known = code_points(text), code_points(self.characters)
        table = np.full(int(max(codes.max(initial=0), known.max(initial=0))) + 1, -1)
        table[known] = np.arange(len(self))
        ids = table[codes]
        unknown = ids == -1
        if unknown.any():
            missing = text[int(np.argmax(unknown))]
            raise UserError(
                f"{name}: expected only the {len(self)} characters of the model's vocabulary "
                f"({self.listed()}), got {missing!r}"
            )
        return ids.astype(np.uint8) if len(self) <= 256 else ids.astype(np.uint16)

    def listed(self) -> str:
        """List the characters in a message.

        Returns:
            The first MAX_SHOWN characters in quotes, and the number of the others.
        """
        others = len(self) - MAX_SHOWN
        return repr(self.characters[:MAX_SHOWN]) + (f" and {others:,} more" if others > 0 else "")

    def decode(self, ids: NDArray[np.integer]) -> str:
        """Decode ids to a text.

        Args:
            ids: Ids, any integer type, shape (N,).

        Returns:
            Text of N characters.
        """
        return from_code_points(code_points(self.characters)[ids])


def write_normalized(pieces: Iterable[str], normalization: Normalization, file: Path) -> tuple[int, str]:
    """Normalize a text and write it in UTF-8.

    Args:
        pieces: The text, in pieces.
        normalization: Settings of the normalization.
        file: File that is written.

    Returns:
        Number of characters written, and the distinct characters among them, in the order of their code
            points.
    """
    normalizer, count = Normalizer(normalization), 0
    with file.open("wb") as out:
        for piece in pieces:
            normal = normalizer.feed(piece)
            count += len(normal)
            out.write(normal.encode(errors="surrogatepass"))
    return count, normalizer.characters()


def write_tokens(text: Path, count: int, vocabulary: Vocabulary, file: Path) -> str:
    """Write the ids of a text in UTF-8 as an .npy file.

    Args:
        text: File with the text; `write_normalized` wrote it.
        count: Number of its characters, for the header of the .npy file.
        vocabulary: Vocabulary of the text; it must have every character of it.
        file: File that is written, an array of shape (count,).

    Returns:
        SHA-256 of the bytes of the ids, without the header, in hexadecimal.
    """
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
            if of_ascii and piece.isascii():  # three times as fast as the other branch
                tokens = piece.translate(of_ascii)
            else:
                tokens = ids.take(code_points(decoder.decode(piece))).tobytes()
            digest.update(tokens)
            out.write(tokens)
    return digest.hexdigest()
