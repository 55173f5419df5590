"""The characters of a text that comes as pieces of bytes, whatever the borders of the pieces are.

What is dropped or changed on the way, as Python's own text files have it: a byte order mark in front of the
text is no character, and line ends (`\\r\\n`, `\\r`) become `\\n`. Not so with the encoding `bytes`: there
every byte is a character, the one that latin-1 gives it, and nothing is changed.
"""

import codecs
import io
from collections.abc import Iterable, Iterator

from src.common.errors import UserError

BYTES = "bytes"  # the encoding of what is to be learned byte by byte
BYTE_ORDER_MARK = "\ufeff"
NON_TEXT_CODECS = (
    "idna",
    "punycode",
    "undefined",
)  # not text encodings, or not incremental


def characters(pieces: Iterable[bytes], encoding: str) -> Iterator[str]:
    """The text of `pieces`, in pieces. UserError names the first byte that does not fit the encoding.

    >>> "".join(characters([b"thou \\xc3", b"\\xa9\\r", b"\\nart"], "utf-8"))
    'thou é\\nart'
    """
    if encoding == BYTES:
        yield from (str(piece, "latin-1") for piece in pieces)
        return
    decoder = decoder_of(encoding)
    read, begun = 0, False
    for piece, last in iter_with_final(pieces):
        read += len(piece)
        try:
            text = decoder.decode(piece, last)
        except UnicodeDecodeError as error:
            # What it speaks of ends where this piece ends; in front are the bytes kept of the piece before.
            position = read - len(error.object) + error.start
            raise UserError(
                f"data.encoding: expected text in {encoding}, got byte 0x{error.object[error.start]:02x} at "
                f"position {position}: name the text's own encoding, latin-1 for example"
            ) from error
        except UnicodeError as error:  # utf-16 and utf-32 without the mark that tells the order of the bytes
            raise UserError(
                f"data.encoding: expected text in {encoding}, got bytes that are none ({error}): name the "
                "text's own encoding, utf-16-le for example"
            ) from error
        if text and not begun:
            text, begun = text.removeprefix(BYTE_ORDER_MARK), True
        if text:
            yield text


def decoder_of(encoding: str) -> io.IncrementalNewlineDecoder:
    """Bytes to characters with one kind of line end; UserError for what is no encoding of texts."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # knows which codecs make text of bytes
        if codecs.lookup(encoding).name in NON_TEXT_CODECS:
            raise LookupError
        return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    except (LookupError, ValueError) as error:
        raise UserError(
            f"data.encoding: expected a text encoding such as utf-8, or bytes, got {encoding}"
        ) from error


def iter_with_final(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and an empty one behind them that is the last."""
    for piece in pieces:
        yield piece, False
    yield b"", True
