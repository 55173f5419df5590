"""Two passes over a text that need not fit into memory, against Python's own lookup of each character."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary, write_normalized, write_tokens

AS_IT_IS = Normalization(lowercase=False, letters_only=False, collapse_spaces=False)
PLAIN = "Shall I compare thee to a summer's day?\n" * 3
SIGNS = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))


@pytest.mark.parametrize("size", [1, 2, 5, 32, 10_000])
@pytest.mark.parametrize(
    "text",
    [PLAIN, PLAIN + "\u0416" + PLAIN, "\u00e9\U0001f600" + PLAIN + "\ud800\udfff", PLAIN + SIGNS + PLAIN],
    ids=["ASCII", "8 bits", "surrogates", "16 bits"],
)
def test_tokens_are_the_characters_places_wherever_the_text_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, size: int
) -> None:
    """Pieces of ASCII alone go another, faster way."""
    monkeypatch.setattr("src.data.vocabulary.PIECE", size)
    pieces = [text[k : k + size] for k in range(0, len(text), size)]
    count, distinct = write_normalized(pieces, AS_IT_IS, tmp_path / "text")
    assert (count, distinct) == (len(text), "".join(sorted(set(text))))
    write_tokens(tmp_path / "text", count, Vocabulary(distinct), tmp_path / "tokens.npy")
    tokens = np.load(tmp_path / "tokens.npy")
    assert tokens.dtype == (np.uint8 if len(distinct) <= 256 else np.uint16)
    assert tokens.tolist() == [distinct.index(character) for character in text]


@pytest.mark.parametrize("line", [PLAIN, PLAIN + "\u0416"], ids=["ASCII", "other"])
def test_memory_does_not_grow_with_the_text(tmp_path: Path, line: str) -> None:
    times = 5_000_000 // len(line)
    with (tmp_path / "text").open("w", encoding="utf-8") as out:
        for _ in range(times):
            out.write(line)
    tracemalloc.start()
    write_tokens(tmp_path / "text", times * len(line), Vocabulary.of(line), tmp_path / "tokens.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_500_000
    assert np.load(tmp_path / "tokens.npy", mmap_mode="r").shape == (times * len(line),)
