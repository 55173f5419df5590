"""Normalization compared with plain Python, character by character."""

import re

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.data.normalization import Normalization, Normalizer, code_points, from_code_points

ANY = st.text(st.characters(exclude_categories=()))  # every code point, with lone surrogates
NORMALIZATIONS = st.builds(Normalization, st.booleans(), st.booleans(), st.booleans())
fast = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def oracle(n: Normalization, text: str) -> str:
    text = "".join(c.lower()[0] for c in text) if n.lowercase else text
    text = "".join(c if c.isalpha() else " " for c in text) if n.letters_only else text
    return re.sub(" +", " ", text) if n.collapse_spaces else text


@fast
@given(ANY)
@example("\ud800 \udcff")  # lone surrogates, as invalid UTF-8 from a terminal
def test_code_points_round_trip(text: str) -> None:
    codes = code_points(text)
    assert codes.tolist() == [ord(c) for c in text]
    assert from_code_points(codes) == text


@fast
@given(NORMALIZATIONS, ANY)
@example(Normalization(False, False, True), "   a  b c   ")
@example(Normalization(True, False, False), "\u0391\u03a3 \u0130")  # no final sigma, no dot above
@example(
    Normalization(False, True, False), "\u0416\u0443\u043a, na\u00efve; \u4f60\u597d! \u0627\u0644\u0639"
)
@example(Normalization(True, True, True), "")
@example(Normalization(True, True, True), "Ah!  O,\nÉté 9")
def test_normalization_matches_plain_python(normalization: Normalization, text: str) -> None:
    """A normalized prompt stays unchanged."""
    once = normalization.apply(text)
    assert once == oracle(normalization, text)
    assert normalization.apply(once) == once


@fast
@given(NORMALIZATIONS, st.lists(ANY))
@example(Normalization(True, True, True), ["a ", " ", "", " \u0416", "  b\u0130 ", "\U0010ffff"])
def test_chunked_normalization_matches_whole(normalization: Normalization, pieces: list[str]) -> None:
    normalizer = Normalizer(normalization)
    text = "".join([normalizer.feed(piece) for piece in pieces])
    assert text == normalization.apply("".join(pieces))
    assert normalizer.characters() == "".join(sorted(set(text)))
