"""What happens to a text before it becomes ids: the same for a corpus and for a prompt."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACE = ord(" ")
UNKNOWN = 2**32 - 1  # no code point


def code_points(text: str) -> NDArray[np.uint32]:
    """Unicode code points of a text, shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def from_code_points(codes: NDArray[np.uint32]) -> str:
    """The text of code points: the inverse of `code_points`."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


@dataclass(frozen=True)
class Normalisation:
    """lowercase: map letters to lower case. letters_only: every character that is no letter becomes a
    space, one for one. collapse_spaces: make one space of several in a row.

    >>> Normalisation(lowercase=True, letters_only=True, collapse_spaces=False).apply("Feed'st thou, 2?")
    'feed st thou    '
    """

    lowercase: bool
    letters_only: bool
    collapse_spaces: bool

    def apply(self, text: str) -> str:
        """The normalised text."""
        return from_code_points(Normaliser(self).next(text))

    def of_character(self, character: str) -> str:
        """What one character becomes before spaces are collapsed: one character, whatever stands beside it.

        Lower case is Unicode's simple mapping, one for one: a sigma is `σ` at the end of a word, too, and the
        Turkish `İ` is `i` without the dot that would be a second character.
        """
        lower = character.lower()[0] if self.lowercase else character
        return " " if self.letters_only and not lower.isalpha() else lower


class Normaliser:
    """Normalises a text that comes in pieces: what comes out does not depend on where they are cut.

    Python code runs once a distinct character, never once a character.
    """

    def __init__(self, normalisation: Normalisation) -> None:
        self.normalisation = normalisation
        self.table = np.full(2**8, UNKNOWN, np.uint32)  # by code point; the last entry stays UNKNOWN
        self.after_space = False

    def next(self, text: str) -> NDArray[np.uint32]:
        """Code points of the next piece, normalised."""
        codes = code_points(text)
        normal = self.table.take(codes, mode="clip")  # a code point beyond the table finds its last entry
        if normal.max(initial=0) == UNKNOWN:
            self.learn(np.unique(codes[normal == UNKNOWN]))
            normal = self.table.take(codes, mode="clip")
        if self.normalisation.collapse_spaces and normal.size:
            space = normal == SPACE
            kept = ~(space & np.concatenate(([self.after_space], space[:-1])))
            self.after_space = bool(space[-1])
            normal = normal[kept]
        return normal

    def learn(self, codes: NDArray[np.uint32]) -> None:
        """Enter code points (sorted) into the table."""
        size = self.table.size
        while size <= codes[-1] + 1:
            size *= 2
        self.table = np.append(self.table, np.full(size - self.table.size, UNKNOWN, np.uint32))
        self.table[codes] = [ord(self.normalisation.of_character(chr(code))) for code in codes]

    def characters(self) -> str:
        """The distinct characters that have come out so far, in the order of their code points."""
        distinct = np.unique(self.table)
        return from_code_points(distinct[distinct != UNKNOWN])
