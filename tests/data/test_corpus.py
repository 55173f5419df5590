"""Preparation of a corpus: files, tokens, manifest, and reuse."""

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data import sources
from src.data.corpus import FORMAT, Corpus, load, opening_of, prepare
from src.data.normalization import Normalization
from src.data.sources import characters
from tests.sample_corpus import NORMAL, PLAIN, RAW, RAW_TEXT, SETTINGS, single_chunk


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return prepare(lambda: [("text.txt", [RAW[:100], RAW[100:]])], SETTINGS, 5, tmp_path)[0]


def files_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return bytes and modification time of every file below a directory."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_prepared_corpus_files(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.folder.name == f"tiny-{corpus.digest[:12]}"
    assert {p.name for p in tmp_path.iterdir()} == {corpus.folder.name, "tiny.txt"}
    files = {"tokens.npy", "vocab.json", "manifest.json", "text.txt"}
    assert {p.name for p in corpus.folder.iterdir()} == files
    assert (corpus.name, corpus.normalization) == ("tiny", PLAIN)
    assert corpus.vocabulary.decode(corpus.tokens) == NORMAL
    assert corpus.vocabulary.characters == "".join(sorted(set(NORMAL)))


def test_readable_text_is_latest_prepared(corpus: Corpus, tmp_path: Path) -> None:
    shown = tmp_path / "tiny.txt"
    assert shown.read_text(encoding="utf-8") == NORMAL
    prepare(single_chunk(b"Another text " * 30), SETTINGS, 5, tmp_path)
    assert shown.read_text() == "another text " * 30
    prepare(single_chunk(RAW), SETTINGS, 5, tmp_path)
    assert shown.read_text() == NORMAL


@pytest.mark.parametrize(
    ("raw", "encoding", "expected"),
    [
        (b"one +2AA- two +3/8-", "utf-7", "one \ud800 two \udfff"),  # UTF-8 has no lone surrogates
        ("caf\u00e9 ".encode("latin-1") * 4, "latin-1", "caf\u00e9 " * 4),
        (b"\xef\xbb\xbfShall I\r\ncompare\rthee ", "utf-8", "Shall I\ncompare\nthee "),
        ("".join(map(chr, range(0x4E00, 0x4E00 + 300))).encode(), "utf-8", None),
    ],
    ids=["surrogates", "latin-1", "Windows", "two bytes"],
)
def test_text_is_decoded(raw: bytes, encoding: str, expected: str | None, tmp_path: Path) -> None:
    expected = expected or raw.decode()
    settings = replace(SETTINGS, encoding=encoding, normalization=RAW_TEXT, split=(0.5, 0.5, 0.0))
    corpus, _ = prepare(single_chunk(raw), settings, 2, tmp_path)
    assert corpus.vocabulary.decode(corpus.tokens) == expected
    assert corpus.tokens.dtype == (np.uint8 if len(set(expected)) <= 256 else np.uint16)


def test_manifest_content(corpus: Corpus) -> None:
    """A changed digest would make every prepared corpus and finished job obsolete."""
    assert corpus.digest == "ebdb2a02d72577aa284a5296cafa87ff0703e8f5a069c8d624b8696c6bebc226"
    normalization = {"lowercase": True, "letters_only": True, "collapse_spaces": False}
    vocabulary = "".join(sorted(set(NORMAL)))
    assert json.loads((corpus.folder / "manifest.json").read_text()) == {
        "format": FORMAT,
        "digest": corpus.digest,
        "source": {
            "sha256": hashlib.sha256(RAW).hexdigest(),
            "bytes": len(RAW),
            "name": "tiny",
            "files": ["text.txt"],
        },
        "settings": {
            "name": "tiny",
            "encoding": "utf-8",
            "normalization": normalization,
            "split": [0.8, 0.1, 0.1],
        },
        "characters": len(NORMAL),
        "vocabulary": {
            "size": len(vocabulary),
            "sha256": hashlib.sha256(vocabulary.encode()).hexdigest(),
        },
        "tokens": {"dtype": "uint8", "sha256": hashlib.sha256(corpus.tokens.tobytes()).hexdigest()},
        "splits": {"train": [0, 320], "val": [320, 360], "test": [360, 400]},
    }


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("оз и солнце; день чудесный! Ещё ты дремлешь", "и солнце; день чудесный! Ещё "),
        ("NOT TO BE, THAT IS THE QUESTION:\nWHETHER", "TO BE, THAT IS THE QUESTION:\n"),
        ("ACGTTGCA" * 9, "ACGTTGCAACGTTGCAACGT"),
        ("ACGTTGCA" * 3 + "\n" + "GATTACA" * 9, "GATTACAGATTACAGATTAC"),
        (
            "道可道。非常道。名可名。非常名。无名天地之始。有名万物之母。" * 2,
            "道可道。非常道。名可名。非常名。无名天地",
        ),
        ("ερα Πηληϊάδεω Ἀχιλῆος  δ οὐλομένην", "Πηληϊάδεω Ἀχιλῆος  δ "),
        ("un tekevi, aivoni ajattelevi lähteäni", "tekevi, aivoni ajattelevi "),
        ("  que l'été s'achève  \n\nEt puis voilà", "que l'été s'achève  \n\nEt puis "),
        (" ab" * 2, "ab ab"),
        (" " * 90, " " * 20),
        ("ab", "ab"),
    ],
)
def test_opening_is_cut_at_words(text: str, opening: str) -> None:
    assert opening_of(text) == opening


def test_opening_is_beginning_of_validation_split(corpus: Corpus) -> None:
    assert corpus.vocabulary.decode(corpus.split("val")) == "shall i compare thee to a summer s day  "
    assert corpus.opening == "i compare thee to a summer s "


def test_corpus_of_earlier_version_is_used(corpus: Corpus) -> None:
    """Its manifest has no name and no files of the source."""
    file = corpus.folder / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["source"]["name"], manifest["source"]["files"]
    file.write_text(json.dumps(manifest))
    assert (load(corpus.folder).name, load(corpus.folder).files) == ("tiny", ())


def test_name_and_files_of_text_are_recorded(corpus: Corpus, tmp_path: Path) -> None:
    """The digest covers the bytes of all files, and no name: a renamed text is the same text."""
    (tmp_path / "tiny.txt").unlink()
    (tmp_path / "tiny.txt").write_text("a file of the user")
    parts = [("a.txt", [RAW[:100]]), ("", [RAW[100:102]]), ("b.txt", [RAW[102:]])]
    second, made = prepare(lambda: parts, SETTINGS, 5, tmp_path, name="book")
    assert (made, second.name, second.files, second.digest) == (
        True,
        "book",
        ("a.txt", "b.txt"),
        corpus.digest,
    )
    assert load(second.folder).files == ("a.txt", "b.txt")
    assert second.folder.name == f"book-{corpus.digest[:12]}"
    assert (tmp_path / "tiny.txt").read_text() == "a file of the user"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_each_file_is_decoded_by_itself(tmp_path: Path, encoding: str) -> None:
    """Each file has a byte order mark."""
    parts = [
        ("a", ["Shall I\r".encode(encoding)]),
        ("", [b"\n\n"]),
        ("b", [(" thee?" * 50).encode(encoding)]),
    ]
    settings = replace(SETTINGS, encoding=encoding, normalization=RAW_TEXT)
    corpus, _ = prepare(lambda: parts, settings, 5, tmp_path)
    assert corpus.vocabulary.decode(corpus.tokens) == "Shall I\n\n\n" + " thee?" * 50


@pytest.mark.parametrize("seq_len", [5, 9])
def test_second_preparation_reuses_files(corpus: Corpus, tmp_path: Path, seq_len: int) -> None:
    before, link = files_of(tmp_path), (tmp_path / "tiny.txt").lstat().st_ino
    second, made = prepare(single_chunk(RAW), SETTINGS, seq_len, tmp_path)
    assert made is False
    assert files_of(tmp_path) == before
    assert (tmp_path / "tiny.txt").lstat().st_ino == link
    assert second.tokens.tobytes() == corpus.tokens.tobytes()
    assert vars(second) | {"tokens": None} == vars(corpus) | {"tokens": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"encoding": "latin-1"},
        {"split": (0.7, 0.2, 0.1)},
        {"normalization": replace(PLAIN, lowercase=False)},
        {"normalization": replace(PLAIN, letters_only=False)},
        {"normalization": replace(PLAIN, collapse_spaces=True)},
        {},
    ],
    ids=["name", "encoding", "split", "lowercase", "letters_only", "collapse_spaces", "text"],
)
def test_other_settings_or_text_give_other_corpus(
    corpus: Corpus, tmp_path: Path, changes: dict[str, Any]
) -> None:
    raw = RAW if changes else RAW + b"!"
    second, made = prepare(single_chunk(raw), replace(SETTINGS, **changes), 5, tmp_path)
    assert made is True
    assert second.digest != corpus.digest
    assert second.folder != corpus.folder
    assert load(corpus.folder).digest == corpus.digest


def test_splits_are_consecutive_read_only_tokens(corpus: Corpus) -> None:
    parts = [corpus.split(name) for name in ("train", "val", "test")]
    assert [part.size for part in parts] == [320, 40, 40]
    assert np.concatenate(parts).tobytes() == corpus.tokens.tobytes()
    assert corpus.final_split == "test"
    assert isinstance(corpus.tokens, np.memmap)
    for tokens in (corpus.tokens, corpus.split("val")):
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 1


def test_limits_apply_to_prepared_corpus(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seq_len=40 in each split .* got 400"):
        prepare(single_chunk(RAW), SETTINGS, 40, tmp_path)
    with pytest.raises(UserError, match=r"^data\.max_vocabulary: expected at most 5 distinct characters"):
        prepare(single_chunk(RAW), SETTINGS, 5, tmp_path, 5)
    assert prepare(single_chunk(RAW), SETTINGS, 5, tmp_path, len(corpus.vocabulary))[1] is False


@examples(deadline=None, max_examples=50)
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
        data_dir = Path(temporary, "not", "yet", "there")
        try:
            corpus, made = prepare(lambda: [("text.txt", pieces)], settings, 1, data_dir)
        except UserError as refused:
            message = str(refused)
        if not any(data_dir.iterdir()):
            assert len(message.splitlines()) == 1
            return
        expected = normalization.apply("".join(characters([raw], encoding)))
        assert made
        assert corpus.vocabulary.decode(corpus.tokens) == expected
        assert (data_dir / "tiny.txt").read_bytes().decode("utf-8", "surrogatepass") == expected
        if encoding == "bytes" and not any((normalization.lowercase, normalization.letters_only)):
            assert normalization.collapse_spaces or expected.encode("latin-1") == raw
        second, made = prepare(single_chunk(raw), settings, 1, data_dir)
        assert (second.digest, made) == (corpus.digest, False)


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
    corpus, _ = prepare(sources.find(name, None, tmp_path).parts, settings, 20, tmp_path)
    assert hashlib.sha256(corpus.tokens.tobytes()).hexdigest() == expected
