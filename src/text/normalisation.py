"""What happens to a text before it becomes ids: the same for a corpus and for a prompt."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACE = ord(" ")


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
        """The normalised text. Python code runs once a distinct character, never once a character."""
        codes = code_points(text.lower() if self.lowercase else text)
        if self.letters_only and codes.size:
            distinct = np.flatnonzero(np.bincount(codes))
            table = np.arange(distinct[-1] + 1, dtype=np.uint32)
            table[[code for code in distinct if not chr(code).isalpha()]] = SPACE
            codes = table[codes]
        if self.collapse_spaces and codes.size:
            space = codes == SPACE
            codes = codes[~(space & np.concatenate(([False], space[:-1])))]
        return from_code_points(codes)
