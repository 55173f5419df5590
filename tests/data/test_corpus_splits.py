"""Bounds of the splits and the required length of a text."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.data.corpus import bounds_of, check_length, prepare
from tests.sample_corpus import SETTINGS, single_chunk

SPLITS = [(0.8, 0.1, 0.1), (0.9, 0.1, 0.0), (0.5, 0.25, 0.25), (0.7, 0.2, 0.1), (0.34, 0.33, 0.33)]


def test_split_requires_three_shares() -> None:
    two: Any = (0.5, 0.5)
    with pytest.raises(ValueError, match="shorter"):
        bounds_of(100, two)


@pytest.mark.parametrize("shares", SPLITS, ids=str)
@pytest.mark.parametrize("count", [0, 1, 10, 97, 1000, 1115394])
def test_split_bounds(count: int, shares: tuple[float, float, float]) -> None:
    bounds = bounds_of(count, shares)
    assert list(bounds) == ["train", "val", "test"]
    starts, stops = zip(*bounds.values(), strict=True)
    assert [*starts, count] == [0, *stops]
    for (start, stop), share in zip(bounds.values(), shares, strict=True):
        assert abs(stop - start - share * count) <= 1


def required_length(shares: tuple[float, float, float], seq_len: int) -> int:
    """Return the number of characters that the error message requires."""
    with pytest.raises(UserError, match="expected at least") as caught:
        check_length(2, shares, seq_len)
    found = re.search(r"at least (\d+) characters", str(caught.value))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("shares", SPLITS, ids=str)
@pytest.mark.parametrize("seq_len", [1, 20])
def test_too_short_text_is_rejected_with_required_length(
    tmp_path: Path, shares: tuple[float, float, float], seq_len: int
) -> None:
    required, settings = required_length(shares, seq_len), replace(SETTINGS, split=shares)
    text = b"ab" * required
    with pytest.raises(
        UserError, match=f"at least {required} characters .* got {required - 1}: use a longer"
    ):
        prepare(single_chunk(text[: required - 1]), settings, seq_len, tmp_path)
    assert not any(tmp_path.iterdir())
    corpus, _ = prepare(single_chunk(text[:required]), settings, seq_len, tmp_path)
    sizes = {name: corpus.split(name).size for name in ("train", "val", "test")}
    assert all(size > seq_len for size, share in zip(sizes.values(), shares, strict=True) if share)
    assert sum(sizes.values()) == required
    assert corpus.final_split == ("test" if shares[2] else "val")


@pytest.mark.parametrize("shares", [*SPLITS, (0.5, 0.2, 0.3), (0.5, 0.05, 0.45)], ids=str)
def test_longer_text_than_required_is_accepted(shares: tuple[float, float, float]) -> None:
    required = required_length(shares, 20)
    for count in range(required, required + 40):
        check_length(count, shares, 20)
