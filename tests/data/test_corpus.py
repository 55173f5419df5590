"""Preparation of a corpus: files, tokens, manifest, and reuse."""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data import sources
from src.data.corpus import FORMAT, Corpus, CorpusConfig, load, prepare
from src.data.normalization import Normalization
from src.data.sources import characters
from tests.sample_corpus import NORMAL, PLAIN, RAW, RAW_TEXT, SETTINGS, single_chunk


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)[0]


def files_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return bytes and modification time of every file below a directory."""
    return {
        p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_prepared_corpus_files(corpus: Corpus, tmp_path: Path) -> None:
    assert {p.name for p in tmp_path.iterdir()} == {corpus.folder.name, "tiny.txt"}
    assert {p.name for p in corpus.folder.iterdir()} == {
        "tokens.npy",
        "vocab.json",
        "manifest.json",
        "text.txt",
    }
    assert (tmp_path / "tiny.txt").read_text(encoding="utf-8") == NORMAL


def test_readable_text_is_latest_prepared(corpus: Corpus, tmp_path: Path) -> None:
    shown = tmp_path / "tiny.txt"
    written = shown.lstat().st_ino
    prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert shown.lstat().st_ino == written
    prepare(single_chunk(b"Another text " * 30), SETTINGS, 5, tmp_path)
    assert shown.read_text() == "another text " * 30
    prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert shown.read_text() == NORMAL


def test_lone_surrogates_are_kept(tmp_path: Path) -> None:
    """UTF-7 and Python's escapes can contain lone surrogates, UTF-8 cannot."""
    settings = replace(SETTINGS, encoding="utf-7", normalization=RAW_TEXT, split=(0.5, 0.5, 0.0))
    corpus, _ = prepare(single_chunk(b"one +2AA- two +3/8-"), settings, 2, tmp_path)
    assert corpus.vocabulary.decode(corpus.tokens) == "one \ud800 two \udfff"


def test_tokens_encode_normalized_text(corpus: Corpus) -> None:
    assert corpus.vocabulary.decode(corpus.tokens) == NORMAL
    assert corpus.vocabulary.characters == "".join(sorted(set(NORMAL)))
    assert corpus.tokens.dtype == np.uint8


def test_large_vocabulary_uses_two_bytes(tmp_path: Path) -> None:
    raw = "".join(map(chr, range(0x4E00, 0x4E00 + 300))).encode()
    corpus, _ = prepare(single_chunk(raw), SETTINGS, 5, tmp_path)
    assert corpus.tokens.dtype == np.uint16
    assert corpus.vocabulary.decode(corpus.tokens).encode() == raw


def test_tokens_are_read_only_memory_map(corpus: Corpus) -> None:
    assert isinstance(corpus.tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.tokens[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        corpus.split("val")[0] = 1


def test_manifest_content(corpus: Corpus) -> None:
    manifest = json.loads((corpus.folder / "manifest.json").read_text())
    tokens = np.load(corpus.folder / "tokens.npy")
    assert manifest["format"] == FORMAT
    assert manifest["source"] == {"sha256": hashlib.sha256(RAW).hexdigest(), "bytes": len(RAW)}
    assert manifest["tokens"] == {"dtype": "uint8", "sha256": hashlib.sha256(tokens.tobytes()).hexdigest()}
    assert manifest["characters"] == len(NORMAL)
    assert manifest["vocabulary"]["size"] == len(set(NORMAL))
    assert manifest["settings"]["normalization"] == {
        "lowercase": True,
        "letters_only": True,
        "collapse_spaces": False,
    }
    assert corpus.digest == manifest["digest"]
    assert (corpus.name, corpus.normalization) == ("tiny", PLAIN)
    assert corpus.folder.name == f"tiny-{corpus.digest[:12]}"


def test_manifest_does_not_depend_on_chunks(corpus: Corpus, tmp_path: Path) -> None:
    cut, _ = prepare(lambda: [RAW[:100], RAW[100:]], SETTINGS, 5, tmp_path / "not" / "yet" / "there")
    assert (cut.folder / "manifest.json").read_bytes() == (corpus.folder / "manifest.json").read_bytes()


def test_digest_is_stable(corpus: Corpus) -> None:
    """A change would make every prepared corpus and finished job obsolete."""
    assert corpus.digest == "ebdb2a02d72577aa284a5296cafa87ff0703e8f5a069c8d624b8696c6bebc226"


def test_second_preparation_reuses_files(corpus: Corpus, tmp_path: Path) -> None:
    before = files_of(tmp_path)
    second, made = prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert made is False
    assert files_of(tmp_path) == before
    assert second.tokens.tobytes() == corpus.tokens.tobytes()
    assert vars(second) | {"tokens": None} == vars(corpus) | {"tokens": None}


def test_seq_len_does_not_change_corpus(corpus: Corpus, tmp_path: Path) -> None:
    second, made = prepare(single_chunk(RAW), SETTINGS, 9, tmp_path)
    assert (second.folder, made) == (corpus.folder, False)


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTINGS, name="other"),
        replace(SETTINGS, encoding="latin-1"),
        replace(SETTINGS, split=(0.7, 0.2, 0.1)),
        replace(SETTINGS, normalization=replace(PLAIN, lowercase=False)),
        replace(SETTINGS, normalization=replace(PLAIN, letters_only=False)),
        replace(SETTINGS, normalization=replace(PLAIN, collapse_spaces=True)),
    ],
    ids=["name", "encoding", "split", "lowercase", "letters_only", "collapse_spaces"],
)
def test_other_settings_give_other_corpus(corpus: Corpus, tmp_path: Path, other: CorpusConfig) -> None:
    second, made = prepare(single_chunk(RAW), other, 5, tmp_path)
    assert made is True
    assert second.digest != corpus.digest
    assert second.folder != corpus.folder
    assert load(corpus.folder).digest == corpus.digest


def test_other_text_gives_other_corpus(corpus: Corpus, tmp_path: Path) -> None:
    second, made = prepare(single_chunk(RAW + b"!"), SETTINGS, 5, tmp_path)
    assert made is True
    assert second.folder != corpus.folder


def test_splits_are_consecutive_tokens(corpus: Corpus) -> None:
    parts = [corpus.split(name) for name in ("train", "val", "test")]
    assert [part.size for part in parts] == [320, 40, 40]
    assert np.concatenate(parts).tobytes() == corpus.tokens.tobytes()
    assert corpus.final_split == "test"


def test_prepared_corpus_too_short_for_seq_len_is_rejected(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seq_len=40 in each split .* got 400"):
        prepare(single_chunk(RAW), SETTINGS, 40, tmp_path)


def test_text_is_decoded_with_configured_encoding(tmp_path: Path) -> None:
    settings = replace(SETTINGS, encoding="latin-1")
    corpus, _ = prepare(single_chunk("caf\u00e9 ".encode("latin-1") * 100), settings, 5, tmp_path)
    assert corpus.vocabulary.characters == " acf\u00e9"


@examples(deadline=None, max_examples=150)
@given(
    st.binary(max_size=300) | st.text(min_size=30).map(str.encode),
    st.sampled_from(["utf-8", "latin-1", "bytes", "utf-16", "cp1252", "shift_jis"]),
    st.builds(Normalization, st.booleans(), st.booleans(), st.booleans()),
    st.integers(1, 50),
)
@example(bytes(range(256)) * 2, "bytes", Normalization(False, False, False), 50)
@example(bytes(range(256)) * 2, "latin-1", Normalization(False, False, False), 3)
@example(("\U0001f600 \u0416 " * 20).encode(), "utf-8", Normalization(False, False, True), 1)
def test_any_bytes_round_trip_or_are_rejected(
    raw: bytes, encoding: str, normalization: Normalization, size: int
) -> None:
    settings = replace(SETTINGS, encoding=encoding, normalization=normalization)
    pieces = [raw[k : k + size] for k in range(0, len(raw), size)]
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = Path(temporary)
        try:
            corpus, made = prepare(lambda: pieces, settings, 1, data_dir)
        except UserError as refused:
            message = str(refused)
        if not any(data_dir.iterdir()):
            assert len(message.splitlines()) == 1
            return
        expected = normalization.apply("".join(characters([raw], encoding)))
        assert made
        assert corpus.vocabulary.decode(corpus.tokens) == expected
        assert corpus.vocabulary.encode(expected).tolist() == corpus.tokens.tolist()
        written = (data_dir / "tiny.txt").read_bytes()
        assert written.decode("utf-8", "surrogatepass") == expected
        if encoding == "bytes" and not any((normalization.lowercase, normalization.letters_only)):
            assert normalization.collapse_spaces or expected.encode("latin-1") == raw
        second, made = prepare(single_chunk(raw), settings, 1, data_dir)
        assert (second.digest, made) == (corpus.digest, False)


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfShall I\r\ncompare\rthee ", b"Shall I\ncompare\nthee "])
def test_windows_line_ends_are_normalized(tmp_path: Path, raw: bytes) -> None:
    plain = replace(SETTINGS, normalization=Normalization(False, False, False), split=(0.5, 0.5, 0.0))
    corpus, _ = prepare(single_chunk(raw), plain, 2, tmp_path)
    assert corpus.vocabulary.decode(corpus.tokens) == "Shall I\ncompare\nthee "


def test_max_vocabulary_applies_to_prepared_corpus(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^data\.max_vocabulary: expected at most 5 distinct characters, got"
    ):
        prepare(single_chunk(RAW), SETTINGS, 5, tmp_path, 5)
    assert prepare(single_chunk(RAW), SETTINGS, 5, tmp_path, len(corpus.vocabulary))[1] is False


@pytest.mark.parametrize(
    ("name", "normalization", "expected"),
    [
        ("smallshake", PLAIN, "4df563537ec3a6ca830c1c4d0483552adf43d4876bca7880da5d19e87b13980e"),
        ("shakespeare", RAW_TEXT, "c65e61bfaa14133bebb48d8e07848faddb4378c11c815d78639c7db37109a7a4"),
    ],
)
def test_tokens_of_bundled_corpora_are_stable(
    tmp_path: Path, name: str, normalization: Normalization, expected: str
) -> None:
    settings = replace(SETTINGS, name=name, normalization=normalization)
    corpus, _ = prepare(sources.find(name, None, tmp_path).pieces, settings, 20, tmp_path)
    assert hashlib.sha256(corpus.tokens.tobytes()).hexdigest() == expected
