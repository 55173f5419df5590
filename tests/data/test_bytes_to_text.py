"""Decoding in pieces against Python's own decoding of the whole."""

from encodings.aliases import aliases

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data.sources import characters

fast = settings(deadline=None, max_examples=150)
TEXT = "Shall I? Élan ÿ\r\n\tЖи \u03c3\u03c2, 你好\U0001f600 \ufeff.\rend\n"
NO_TEXTS = {"base64", "bz2", "hex", "quopri", "rot_13", "uu", "zlib"}  # by their modules' names, less _codec
HOSTS = {"punycode", "idna", "undefined"}
WINDOWS_ONLY = {"mbcs", "oem"}
MODULES = sorted({name.removesuffix("_codec") for name in aliases.values()} - NO_TEXTS - HOSTS - WINDOWS_ONLY)


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[k : k + size] for k in range(0, len(raw), size)]


def decode(pieces: list[bytes], encoding: str = "utf-8") -> str:
    return "".join(characters(pieces, encoding))


def one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def first_wrong(raw: bytes, encoding: str) -> int | None:
    """Where Python's own decoding of the whole stops, or None."""
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start
    return None


@pytest.mark.parametrize("encoding", MODULES)
def test_every_encoding_of_python_gives_the_same_wherever_the_pieces_are_cut(encoding: str) -> None:
    raw = TEXT.encode(encoding, "ignore")
    assert len(raw) > 20
    expected = one_line_end(raw.decode(encoding))
    assert {decode(cut(raw, size), encoding) for size in (1, 2, 3, 7, len(raw))} == {expected}


@fast
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 9))
@example("\r\n", 1)
@example("a\r", 1)
@example("\r\r\n\n", 1)
def test_utf_8_in_pieces_is_the_text(text: str, size: int) -> None:
    expected = one_line_end(text.removeprefix("\ufeff"))
    assert decode(cut(text.encode(), size)) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_byte_order_mark_is_no_character_but_in_front_of_the_text(encoding: str) -> None:
    raw = "\ufeffone\ufefftwo".encode(encoding)
    once = "\ufeff" if encoding in ("utf-8-sig", "utf-16") else ""  # they write a mark of their own
    assert decode(cut(raw, 1), encoding) in ("one\ufefftwo", once + "one\ufefftwo")
    assert decode([b"\xef\xbb\xbfone"]) == "one"


@fast
@given(st.binary(), st.integers(1, 9))
def test_bytes_are_the_characters_of_latin_1_and_nothing_is_changed(raw: bytes, size: int) -> None:
    assert decode(cut(raw, size), "bytes") == raw.decode("latin-1")


@fast
@given(
    st.binary(max_size=40), st.integers(1, 9), st.sampled_from(["utf-8", "utf-16-le", "cp1252", "gb18030"])
)
@example(b"abc\xe2\x82", 2, "utf-8")
@example(b"\xe2\x82\xac\xe2\x28\xa1", 1, "utf-8")
def test_first_wrong_byte_is_named_at_its_place_in_the_whole_text(
    raw: bytes, size: int, encoding: str
) -> None:
    wrong = first_wrong(raw, encoding)
    if wrong is None:
        assert decode(cut(raw, size), encoding) == one_line_end(raw.decode(encoding).removeprefix("\ufeff"))
        return
    with pytest.raises(UserError) as caught:
        decode(cut(raw, size), encoding)
    assert f"in {encoding}, got byte 0x{raw[wrong]:02x} at position {wrong}: " in str(caught.value)


def test_utf_16_that_does_not_tell_its_order_is_refused_in_one_line() -> None:
    with pytest.raises(
        UserError,
        match=r"^data\.encoding: expected text in utf-16, got invalid bytes \(.+\): give the encoding "
        r"of the text, for example utf-16-le$",
    ):
        decode(["text".encode("utf-16-le")], "utf-16")


@pytest.mark.parametrize("encoding", [*sorted(HOSTS), "hex", "rot13", "klingon", "", "a\0b"])
def test_what_is_no_encoding_of_texts_is_refused_even_of_nothing(encoding: str) -> None:
    with pytest.raises(UserError, match=r"^data\.encoding: expected a text encoding such as utf-8, or bytes"):
        decode([], encoding)
