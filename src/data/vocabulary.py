"""Characters to ids and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.common.errors import UserError
from src.data.normalization import code_points, from_code_points

MAX_VOCABULARY = 2**16  # ids are kept in 8 or 16 bits
MAX_SHOWN = 300  # characters of a vocabulary in a message


def check_size(size: int, most: int) -> None:
    """Refuse a vocabulary of more than `most` characters: its weights and logits would be enormous."""
    if size > most:
        raise UserError(
            f"data.max_vocabulary: expected at most {most} distinct characters, got {size}: mostly "
            "data.encoding is not the text's own, or the file is no text (data.encoding=bytes makes at most "
            f"256 of any); for a script of so many signs set a larger data.max_vocabulary, at most "
            f"{MAX_VOCABULARY}"
        )


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a corpus in the order of their code points; the id is the position.

    >>> v = Vocabulary.of("banana")
    >>> v.characters, v.encode("nab").tolist(), v.decode(np.array([1, 0]))
    ('abn', [2, 0, 1], 'ba')
    """

    characters: str

    @classmethod
    def of(cls, text: str, most: int = MAX_VOCABULARY) -> "Vocabulary":
        """The vocabulary of a text; UserError when it has more than `most` distinct characters."""
        distinct = np.unique(code_points(text))
        check_size(distinct.size, most)
        return cls(from_code_points(distinct))

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """Of the ids: 8 bits up to 256 characters, else 16."""
        return np.dtype(np.uint8) if len(self) <= 256 else np.dtype(np.uint16)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Ids of a text, shape (len(text),), uint8 up to 256 characters, else uint16.

        Raises UserError naming the first character that the vocabulary lacks.
        """
        codes, known = code_points(text), code_points(self.characters)
        table = np.full(int(max(codes.max(initial=0), known.max(initial=0))) + 1, -1)
        table[known] = np.arange(len(self))
        ids = table[codes]
        unknown = ids == -1
        if unknown.any():
            missing = text[int(np.argmax(unknown))]
            shown = repr(self.characters[:MAX_SHOWN]) + (", ..." if len(self) > MAX_SHOWN else "")
            raise UserError(
                f"prompt: expected only the {len(self)} characters that the model knows "
                f"({shown}), got {missing!r}"
            )
        return ids.astype(np.uint8) if len(self) <= 256 else ids.astype(np.uint16)

    def decode(self, ids: NDArray[np.integer]) -> str:
        """The text of ids (N,)."""
        return from_code_points(code_points(self.characters)[ids])
