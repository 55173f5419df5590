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
fast = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def characters(count: int) -> str:
    """Return that many distinct characters."""
    return from_code_points(np.arange(count, dtype=np.uint32))


@fast
@given(ANY)
@example("\ud800 \udcff")
def test_encode_decode_round_trip(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@fast
@given(ANY, st.randoms(use_true_random=False))
def test_vocabulary_is_sorted_set(text: str, random: Random) -> None:
    shuffled = list(text)
    random.shuffle(shuffled)
    assert Vocabulary.of(text).characters == "".join(sorted(set(text)))
    assert Vocabulary.of("".join(shuffled)) == Vocabulary.of(text)


@fast
@given(ANY)
def test_id_is_index_in_vocabulary(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert vocabulary.encode(text).tolist() == [vocabulary.characters.index(c) for c in text]


@pytest.mark.parametrize(
    ("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16)]
)
def test_id_dtype_depends_on_vocabulary_size(count: int, dtype: type[np.unsignedinteger]) -> None:
    vocabulary = Vocabulary.of(characters(count))
    ids = vocabulary.encode(characters(count))
    assert len(vocabulary) == count
    assert ids.dtype == dtype
    assert ids.tolist() == list(range(count))


def test_vocabulary_beyond_two_bytes_is_rejected() -> None:
    with pytest.raises(UserError, match=r"^data.max_vocabulary: expected at most 65536 .* got 65537: "):
        Vocabulary.of(characters(65537))


def test_vocabulary_beyond_limit_is_rejected() -> None:
    assert len(Vocabulary.of(characters(300), most=300)) == 300
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(301), most=300)
    message = str(caught.value)
    assert "expected at most 300 distinct characters, got 301: usually data.encoding" in message
    assert "larger data.max_vocabulary" in message
    assert "\n" not in message


def test_message_of_large_vocabulary_is_short() -> None:
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(9000)).encode("\uffff")
    assert len(str(caught.value)) < 3000
    assert "only the 9000 characters" in str(caught.value)


@pytest.mark.parametrize(("count", "more"), [(299, ""), (300, ""), (301, ", ...")])
def test_message_lists_first_300_characters(count: int, more: str) -> None:
    vocabulary = Vocabulary.of(characters(count))
    with pytest.raises(UserError) as caught:
        vocabulary.encode("?\uffff")
    shown = repr(characters(min(count, 300)))
    assert str(caught.value).endswith(f"model's vocabulary ({shown}{more}), got '\\uffff'")


@pytest.mark.parametrize("unknown", ["?", "\n", "A", "Ж", "\U0001f600", "\udcff"])
def test_unknown_character_message(unknown: str) -> None:
    vocabulary = Vocabulary.of("banana")
    expected = f"prompt: expected only the 3 characters of the model's vocabulary ('abn'), got {unknown!r}"
    with pytest.raises(UserError) as caught:
        vocabulary.encode(f"ban{unknown}")
    assert str(caught.value) == expected


def test_first_unknown_character_is_reported() -> None:
    with pytest.raises(UserError, match="got 'x'"):
        Vocabulary.of("ab").encode("abxzb")


def test_empty_text_has_no_ids() -> None:
    assert Vocabulary.of("ab").encode("").shape == (0,)
    assert Vocabulary.of("ab").decode(np.zeros(0, np.uint8)) == ""


AS_IT_IS = Normalization(lowercase=False, letters_only=False, collapse_spaces=False)
PLAIN = "Shall I compare thee to a summer's day?\n" * 3
SIGNS = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))


@pytest.mark.parametrize("size", [1, 2, 5, 32, 10_000])
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
