from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.normalization import from_code_points
from src.data.vocabulary import Vocabulary

ANY = st.text(st.characters(exclude_categories=()))
fast = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def characters(count: int) -> str:
    """That many distinct characters."""
    return from_code_points(np.arange(count, dtype=np.uint32))


@fast
@given(ANY)
@example("\ud800 \udcff")
def test_decoding_undoes_encoding(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


@fast
@given(ANY, st.randoms(use_true_random=False))
def test_vocabulary_is_the_sorted_set_of_characters_in_whatever_order_they_come(
    text: str, random: Random
) -> None:
    shuffled = list(text)
    random.shuffle(shuffled)
    assert Vocabulary.of(text).characters == "".join(sorted(set(text)))
    assert Vocabulary.of("".join(shuffled)) == Vocabulary.of(text)


@fast
@given(ANY)
def test_id_is_the_position_in_the_vocabulary(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    assert vocabulary.encode(text).tolist() == [vocabulary.characters.index(c) for c in text]


@pytest.mark.parametrize(
    ("count", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16)]
)
def test_ids_take_one_byte_up_to_256_characters_then_two(count: int, dtype: type[np.unsignedinteger]) -> None:
    vocabulary = Vocabulary.of(characters(count))
    ids = vocabulary.encode(characters(count))
    assert len(vocabulary) == count
    assert ids.dtype == dtype
    assert ids.tolist() == list(range(count))


def test_more_characters_than_two_bytes_number_are_refused() -> None:
    with pytest.raises(UserError, match=r"^data.max_vocabulary: expected at most 65536 .* got 65537: "):
        Vocabulary.of(characters(65537))


def test_vocabulary_beyond_the_limit_is_refused_with_its_size_its_cause_and_the_key() -> None:
    assert len(Vocabulary.of(characters(300), most=300)) == 300
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(301), most=300)
    message = str(caught.value)
    assert "expected at most 300 distinct characters, got 301: usually data.encoding" in message
    assert "larger data.max_vocabulary" in message
    assert "\n" not in message


def test_of_a_large_vocabulary_a_message_shows_the_beginning() -> None:
    with pytest.raises(UserError) as caught:
        Vocabulary.of(characters(9000)).encode("\uffff")
    assert len(str(caught.value)) < 3000
    assert "only the 9000 characters" in str(caught.value)


@pytest.mark.parametrize(("count", "more"), [(299, ""), (300, ""), (301, ", ...")])
def test_message_says_that_it_shows_only_the_first_300_characters(count: int, more: str) -> None:
    vocabulary = Vocabulary.of(characters(count))
    with pytest.raises(UserError) as caught:
        vocabulary.encode("?\uffff")
    shown = repr(characters(min(count, 300)))
    assert str(caught.value).endswith(f"model's vocabulary ({shown}{more}), got '\\uffff'")


@pytest.mark.parametrize("unknown", ["?", "\n", "A", "Ж", "\U0001f600", "\udcff"])
def test_unknown_character_is_named_beside_the_known_ones(unknown: str) -> None:
    vocabulary = Vocabulary.of("banana")
    expected = f"prompt: expected only the 3 characters of the model's vocabulary ('abn'), got {unknown!r}"
    with pytest.raises(UserError) as caught:
        vocabulary.encode(f"ban{unknown}")
    assert str(caught.value) == expected


def test_first_unknown_character_is_the_one_named() -> None:
    with pytest.raises(UserError, match="got 'x'"):
        Vocabulary.of("ab").encode("abxzb")


def test_empty_text_has_no_ids() -> None:
    assert Vocabulary.of("ab").encode("").shape == (0,)
    assert Vocabulary.of("ab").decode(np.zeros(0, np.uint8)) == ""
