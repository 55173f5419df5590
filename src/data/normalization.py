"""Normalization of a text before it is encoded as ids: the same for a corpus and for a prompt."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACE = ord(" ")


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the Unicode code points of a text.

    Args:
        text: The text; it may contain surrogates.

    Returns:
        Code points, uint32, shape (len(text),), read-only.

    Examples:
        >>> code_points("aé€").tolist()
        [97, 233, 8364]
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def from_code_points(codes: NDArray[np.unsignedinteger]) -> str:
    """Return the text of code points; the inverse of `code_points`.

    Args:
        codes: Code points, shape (N,), of any unsigned integer type.

    Returns:
        Text of N characters.

    Examples:
        >>> from_code_points(np.array([97, 233, 8364], np.uint32))
        'aé€'
    """
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class Normalization:
    """Settings of the normalization of a text.

    Attributes:
        lowercase: Whether to map letters to lower case.
        letters_only: Whether to replace every character that is not a letter by a space, one for one.
        collapse_spaces: Whether to replace several spaces in a row by one space.

    Examples:
        >>> Normalization(lowercase=True, letters_only=True, collapse_spaces=False).apply("Feed'st thou, 2?")
        'feed st thou    '
    """

    lowercase: bool
    letters_only: bool
    collapse_spaces: bool

    def apply(self, text: str) -> str:
        """Normalize a whole text.

        Args:
            text: The text.

        Returns:
            The normalized text; it is shorter only if spaces are collapsed.
        """
        return Normalizer(self).feed(text)

    def of_character(self, character: str) -> str:
        """Normalize one character, before spaces are collapsed: one character, independent of its neighbors.

        Lower case is Unicode's simple mapping, one character for one: the Greek sigma has one form, also at
        the end of a word, and the Turkish capital I with a dot becomes `i` without the dot as a second
        character.

        Args:
            character: The character.

        Returns:
            Exactly one character.

        Examples:
            >>> normal = Normalization(lowercase=True, letters_only=True, collapse_spaces=False)
            >>> [normal.of_character(c) for c in "AÉİ4"]
            ['a', 'é', 'i', ' ']
        """
        lower = character.lower()[0] if self.lowercase else character
        return " " if self.letters_only and not lower.isalpha() else lower


class Normalizer:
    """Normalizer of a text that comes in pieces; the result does not depend on where the text is cut.

    Python code runs once per distinct character, not once per character.

    Args:
        normalization: Settings of the normalization.

    Examples:
        >>> pieces = Normalizer(Normalization(lowercase=True, letters_only=True, collapse_spaces=True))
        >>> [pieces.feed(text) for text in ("Shall I --", " 18 -- compare")]
        ['shall i ', 'compare']
    """

    def __init__(self, normalization: Normalization) -> None:
        self.collapse = normalization.collapse_spaces
        self.known = _CharacterMap(normalization)
        self.table = np.zeros(sys.maxunicode + 1, np.uint32)  # `known` by code point; 0: not seen so far
        self.after_space = False

    def feed(self, text: str) -> str:
        """Normalize the next piece of the text.

        Args:
            text: The piece.

        Returns:
            The normalized piece. A space at its start is left out if the previous piece ended with one and
                spaces are collapsed.
        """
        # str.translate is fast only for ASCII.
        normal = text.translate(self.known) if text.isascii() else self._lookup(text)
        return self._collapse_spaces(normal) if self.collapse and normal else normal

    def _collapse_spaces(self, text: str) -> str:
        """Return the text with one space for several in a row, also across the start of the piece."""
        ascii = text.isascii()
        codes = np.frombuffer(text.encode(), np.uint8) if ascii else code_points(text)
        space = codes == SPACE
        again = np.concatenate(([self.after_space], space[:-1]))
        self.after_space = bool(space[-1])
        collapsed = codes[~(space & again)]
        return collapsed.tobytes().decode() if ascii else from_code_points(collapsed)

    def _lookup(self, text: str) -> str:
        """Return the text with each character replaced by its entry in the table of known characters."""
        codes = code_points(text)
        normal = self.table.take(codes, mode="clip")
        if normal.min() == 0:  # the character 0 is looked up again in each piece, but texts do not contain it
            new = np.unique(codes[normal == 0])
            self.table[new] = [self.known[code] for code in new.tolist()]
            normal = self.table.take(codes, mode="clip")
        return from_code_points(normal)

    def characters(self) -> str:
        """Return the distinct characters that the normalized pieces contain so far.

        Returns:
            The characters, in the order of their code points.
        """
        return "".join(map(chr, sorted(set(self.known.values()))))


class _CharacterMap(dict[int, int]):
    """Map from code points to normalized code points; an entry is computed at its first look-up."""

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        self.normalization = normalization

    def __missing__(self, code: int) -> int:
        self[code] = ord(self.normalization.of_character(chr(code)))
        return self[code]
