"""Rejected texts leave no files, and damaged prepared corpora are rejected."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.common.errors import UserError
from src.data.corpus import load, prepare
from tests.sample_corpus import NORMAL, RAW, RAW_TEXT, SETTINGS, single_chunk


@pytest.mark.parametrize(
    ("raw", "changes", "message"),
    [
        (b"", {}, "got 0: use a longer text"),
        (b"aaaa" * 100, {}, "^data: expected at least 2 distinct characters, got 1$"),
        ("caf\u00e9 ".encode("latin-1") * 100, {}, "^data.encoding: expected text in utf-8, got byte 0xe9 at "
         "position 3 of text.txt: give the encoding of the text, for example latin-1$"),
        (RAW, {"encoding": "klingon"}, "^data.encoding: expected a text encoding .* got klingon$"),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 20_000))).encode(), {"normalization": RAW_TEXT},
         "^data.max_vocabulary: expected at most 10000 .* got 20000: usually"),
    ],
)  # fmt: skip
def test_invalid_text_is_rejected(raw: bytes, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        prepare(single_chunk(raw), replace(SETTINGS, **changes), 5, tmp_path, 10_000)
    assert not any(tmp_path.iterdir())


CHANGED = r"^data\.path: expected a text that does not change, got one that changed"


@pytest.mark.parametrize(("second", "message"), [([RAW, b"more"], CHANGED), (None, "^gone$")])
def test_text_that_changes_while_read_is_rejected(
    second: list[bytes] | None, message: str, tmp_path: Path
) -> None:
    readings = iter([[RAW], second])

    def read() -> list[tuple[str, list[bytes]]]:
        raw = next(readings)
        if raw is None:
            raise UserError("gone")
        return [("text.txt", raw)]

    with pytest.raises(UserError, match=message):
        prepare(read, SETTINGS, 5, tmp_path)
    assert not any(tmp_path.iterdir())


def test_unwritable_data_dir_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"^expected a writable path, got .*change output_dir or data_dir$"):
        prepare(single_chunk(RAW), SETTINGS, 5, tmp_path / "file")
    (tmp_path / "tiny.txt").mkdir()
    with pytest.raises(UserError, match=r"^expected a writable path, got .*tiny\.txt \(Is a directory\): ch"):
        prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert {p.name for p in tmp_path.iterdir() if p.name[:5] != "tiny-"} == {"file", "tiny.txt"}


DAMAGED = "data_dir: expected a whole prepared corpus, got a damaged one in .*: delete that folder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared corpus that is not open."""
    return prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)[0].folder


def is_rejected(folder: Path) -> bool:
    with pytest.raises(UserError, match=DAMAGED):
        load(folder)
    return True


@pytest.mark.parametrize("name", ["tokens.npy", "vocab.json", "manifest.json"])
@pytest.mark.parametrize("kept", [None, 0, 1, 20, 0.5, 0.95])
def test_truncated_or_missing_file_is_rejected(folder: Path, name: str, kept: float | None) -> None:
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert is_rejected(folder)


def test_changed_token_is_rejected(folder: Path) -> None:
    file = folder / "tokens.npy"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(UserError, match=r"damaged one in .* \(a file changed after it was written\): del"):
        load(folder)


@pytest.mark.parametrize("value", ["null", "3", "[]", "{}", '"text"'])
@pytest.mark.parametrize("name", ["vocab.json", "manifest.json"])
def test_json_of_wrong_type_is_rejected(folder: Path, name: str, value: str) -> None:
    (folder / name).write_text(value)
    assert is_rejected(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("splits", None),
        ("splits", {"train": [0]}),
        ("settings", []),
        ("settings", {"name": "tiny", "normalization": {"capitals": True}}),
        ("tokens", {}),
        ("vocabulary", 3),
        ("characters", 3),
        ("format", 0),
        ("digest", "0" * 64),
        ("source", {"sha256": "no hexadecimal", "bytes": 3}),
        ("source", {"sha256": "00", "bytes": 3, "more": 1}),
        ("source", {"sha256": "00", "bytes": "3"}),
        ("source", {"sha256": "00", "bytes": 3, "files": "ab"}),
        ("source", {"sha256": "00", "bytes": 3, "files": [1]}),
    ],
)
def test_invalid_manifest_is_rejected(folder: Path, key: str, value: object) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    assert is_rejected(folder)


def test_pickled_tokens_are_rejected(folder: Path) -> None:
    np.save(folder / "tokens.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert is_rejected(folder)


def test_only_incomplete_corpus_is_prepared_again(folder: Path, tmp_path: Path) -> None:
    (folder / "vocab.json").write_text("[")
    with pytest.raises(UserError, match=DAMAGED):
        prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    (folder / "manifest.json").unlink()
    again, made = prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert made is True
    assert again.vocabulary.decode(again.tokens) == NORMAL
