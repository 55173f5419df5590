import tracemalloc
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.normalization import Normalization, from_code_points
from src.data.vocabulary import Vocabulary, write_normalized, write_tokens

ANY = st.text(st.characters(exclude_categories=()))
fast = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def characters(count: int) -> str:
    """Return that many distinct characters."""
    return from_code_points(np.arange(count, dtype=np.uint32))


@fast
@given(ANY, st.randoms(use_true_random=False))
@example("\ud800 \udcff", Random(0))
def test_ids_are_positions_in_sorted_set(text: str, random: Random) -> None:
    vocabulary, shuffled = Vocabulary.of(text), list(text)
    random.shuffle(shuffled)
    assert vocabulary.characters == "".join(sorted(set(text)))
    assert Vocabulary.of("".join(shuffled)) == vocabulary
    ids = vocabulary.encode(text)
    assert ids.tolist() == [vocabulary.characters.index(c) for c in text]
    assert vocabulary.decode(ids) == text


@pytest.mark.parametrize(
    ("count", "dtype"), [(0, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16)]
)
def test_id_dtype_depends_on_vocabulary_size(count: int, dtype: type[np.unsignedinteger]) -> None:
    vocabulary = Vocabulary.of(characters(count))
    ids = vocabulary.encode(characters(count))
    assert len(vocabulary) == count
    assert ids.dtype == dtype
    assert ids.tolist() == list(range(count))


def test_vocabulary_beyond_limit_is_rejected() -> None:
    assert len(Vocabulary.of(characters(300), most=300)) == 300
    with pytest.raises(UserError, match=r"^data.max_vocabulary: expected at most 65536 .* got 65537: "):
        Vocabulary.of(characters(65537))
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(301), most=300)
    message = str(caught.value)
    assert "expected at most 300 distinct characters, got 301: usually data.encoding" in message
    assert "larger data.max_vocabulary" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("count", "more"), [(5, ""), (20, ""), (21, " and 1 more"), (4564, " and 4,544 more")]
)
def test_message_lists_first_20_characters(count: int, more: str) -> None:
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(count)).encode("\uffff")
    expected = f"only the {count} characters of the model's vocabulary ({characters(min(count, 20))!r}{more})"
    assert str(caught.value) == f"prompt: expected {expected}, got '\\uffff'"


@pytest.mark.parametrize("unknown", ["?", "\n", "A", "Ж", "\U0001f600", "\udcff"])
def test_first_unknown_character_is_reported(unknown: str) -> None:
    with pytest.raises(UserError) as caught:
        Vocabulary.of("banana").encode(f"ban{unknown}az")
    assert str(caught.value).endswith(f" ('abn'), got {unknown!r}")


AS_IT_IS = Normalization(lowercase=False, letters_only=False, collapse_spaces=False)
PLAIN = "Shall I compare thee to a summer's day?\n" * 3
SIGNS = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))


@pytest.mark.parametrize("size", [1, 5, 32, 10_000])
@pytest.mark.parametrize(
    "text",
    [PLAIN, PLAIN + "\u0416" + PLAIN, "\u00e9\U0001f600" + PLAIN + "\ud800\udfff", PLAIN + SIGNS + PLAIN],
    ids=["ASCII", "8 bits", "surrogates", "16 bits"],
)
def test_tokens_do_not_depend_on_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, size: int
) -> None:
    """ASCII chunks use a faster path."""
    monkeypatch.setattr("src.data.vocabulary.PIECE", size)
    pieces = [text[k : k + size] for k in range(0, len(text), size)]
    count, distinct = write_normalized(pieces, AS_IT_IS, tmp_path / "text")
    assert (count, distinct) == (len(text), "".join(sorted(set(text))))
    write_tokens(tmp_path / "text", count, Vocabulary(distinct), tmp_path / "tokens.npy")
    tokens = np.load(tmp_path / "tokens.npy")
    assert tokens.dtype == (np.uint8 if len(distinct) <= 256 else np.uint16)
    assert tokens.tolist() == [distinct.index(character) for character in text]


@pytest.mark.parametrize("line", [PLAIN, PLAIN + "\u0416"], ids=["ASCII", "other"])
def test_tokenization_memory_is_bounded(tmp_path: Path, line: str) -> None:
    times = 3_000_000 // len(line)
    with (tmp_path / "text").open("w", encoding="utf-8") as out:
        for _ in range(times):
            out.write(line)
    tracemalloc.start()
    write_tokens(tmp_path / "text", times * len(line), Vocabulary.of(line), tmp_path / "tokens.npy")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
    assert np.load(tmp_path / "tokens.npy", mmap_mode="r").shape == (times * len(line),)
