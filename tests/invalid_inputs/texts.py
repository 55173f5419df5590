"""Texts that are unreadable, too short or invalid."""

import os
from pathlib import Path

import numpy as np

from src.data.sources import PIECE
from tests.invalid_inputs.case import CORPUS, PATHS, ROOT, TINY, VERSE, Case, Prepare, nothing


def text(content: bytes) -> Prepare:
    return lambda root: (root / "text.txt").write_bytes(content)


def directory_for_text(root: Path) -> None:
    (root / "text.txt").unlink()
    (root / "text.txt").mkdir()


def named_pipe(root: Path) -> None:
    (root / "text.txt").unlink()
    os.mkfifo(root / "text.txt")


def unreadable_text(root: Path) -> None:
    (root / "text.txt").chmod(0)


MANY_CHARACTERS = "".join(chr(code) for code in range(0x100, 0x100 + 120_000) if not 0xD800 <= code <= 0xDFFF)
CYRILLIC = "привет, мир: ünïcödé "
TEXTS = [
    ("missing file", ("data.path=none.txt",), ("data.path", "none.txt"), nothing),
    ("directory for a file", (), ("data.path", "text.txt"), directory_for_text),
    ("empty path", ("data.path=",), ("data.path",), nothing),
    ("path below a file", ("data.path=text.txt/below",), ("data.path",), nothing),
    ("path with a long name", (f"data.path={'x' * 300}",), ("data.path",), nothing),
    ("a file that cannot be read", ("data.path=/proc/self/mem",), ("data.path", "/proc/self/mem"), nothing),
    ("no path", ("data.path=null",), ("data.path", "null"), nothing),
    ("empty text", (), ("data", "got 0"), text(b"")),
    ("one character", (), ("data", "got 1"), text(b"a")),
    ("two characters", (), ("data", "got 2"), text(b"ab")),
    ("too short for a split", (), ("data", "got 40"), text(b"ab cd" * 8)),
    ("one distinct character", (), ("data", "2 distinct characters"), text(b"a" * 5000)),
    ("binary data", (), ("data.encoding", "byte 0x"), text(bytes(range(256)) * 40)),
    ("zeros and noise", (), ("data.encoding", "byte 0x"), text(np.random.default_rng(0).bytes(9000))),
    ("latin-1 as utf-8", (), ("data.encoding", "byte 0x"), text(("ünïcödé " * 300).encode("latin-1"))),
    ("utf-16 as utf-8", (), ("data.encoding", "byte 0xff"), text((CYRILLIC * 200).encode("utf-16"))),
    (
        "cyrillic as ascii",
        ("data.encoding=ascii",),
        ("data.encoding", "byte"),
        text((CYRILLIC * 200).encode()),
    ),
    ("utf-8 as utf-16", ("data.encoding=utf-16-le",), ("data.encoding",), text(b"\x00\xd8" * 999)),
    ("cut utf-16", ("data.encoding=utf-16",), ("data.encoding",), text((VERSE * 99).encode("utf-16")[:-1])),
    ("cut utf-8", (), ("data.encoding",), text((VERSE * 99 + "ü").encode()[:-1])),
    ("unknown encoding", ("data.encoding=klingon",), ("data.encoding", "klingon"), nothing),
    ("codec of bytes", ("data.encoding=base64_codec",), ("data.encoding", "base64_codec"), nothing),
    ("codec rot13", ("data.encoding=rot13",), ("data.encoding", "rot13"), nothing),
    ("empty encoding", ("data.encoding=",), ("data.encoding",), nothing),
    ("vocabulary of 100,000", (), ("data.max_vocabulary", "at most"), text(MANY_CHARACTERS.encode())),
    (
        "vocabulary of 65,537",
        ("data.max_vocabulary=65536",),
        ("data.max_vocabulary", "65536", "got 65537"),
        text(MANY_CHARACTERS[: 2**16 + 1].encode()),
    ),
    ("vocabulary above its limit", ("data.max_vocabulary=5",), ("data.max_vocabulary", "at most 5"), nothing),
    (
        "bytes above the limit",
        ("data.encoding=bytes", "data.max_vocabulary=200"),
        ("data.max_vocabulary", "at most 200", "got 256"),
        text(bytes(range(256)) * 40),
    ),
    (
        "bytes in lower case",
        ("data.encoding=bytes", "data.lowercase=true"),
        ("data.encoding", "data.lowercase", "bytes"),
        nothing,
    ),
    (
        "letters of bytes",
        ("data.encoding=bytes", "data.letters_only=true"),
        ("data.encoding", "data.letters_only", "bytes"),
        nothing,
    ),
    ("bytes in capitals", ("data.encoding=BYTES",), ("data.encoding", "BYTES"), nothing),
    ("prompt that is no byte", ("data.encoding=bytes", "prompt=привет"), ("prompt", "'п'"), nothing),
    (
        "utf-8 broken in the middle",
        (),
        ("data.encoding", "byte 0xff at position 2700"),
        text(VERSE.encode() * 100 + b"\xff" + VERSE.encode() * 100),
    ),
    (
        "utf-8 broken where a piece ends",
        (),
        ("data.encoding", f"byte 0xc3 at position {PIECE - 1}"),
        text(b"ab" * (PIECE // 2 - 1) + b"a\xc3(" + VERSE.encode() * 9),
    ),
    (
        "utf-16 without its mark",
        ("data.encoding=utf-16",),
        ("data.encoding", "utf-16-le"),
        text((VERSE * 99).encode("utf-16-le")),
    ),
    ("utf-32 as utf-8", (), ("data.encoding", "byte 0xff"), text((VERSE * 99).encode("utf-32"))),
    ("utf-8 as utf-32", ("data.encoding=utf-32",), ("data.encoding",), nothing),
    ("codec idna", ("data.encoding=idna",), ("data.encoding", "idna"), nothing),
    ("codec punycode", ("data.encoding=punycode",), ("data.encoding", "punycode"), nothing),
    ("codec undefined", ("data.encoding=undefined",), ("data.encoding", "undefined"), nothing),
    ("codec zip", ("data.encoding=zlib_codec",), ("data.encoding", "zlib_codec"), nothing),
    ("codec of another system", ("data.encoding=mbcs",), ("data.encoding", "mbcs"), nothing),
    ("a pipe", (), ("data.path", "regular file", "text.txt"), named_pipe),
    ("a device", ("data.path=/dev/zero",), ("data.path", "/dev/zero"), nothing),
    ("a pipe for another corpus", ("data=tinyshakespeare",), ("data.path", "regular file"), named_pipe),
    ("windows too long", ("seq_len=2000",), ("seq_len=2000",), nothing),
    ("text of another corpus", ("data=tinyshakespeare",), ("data.path", "sha256"), nothing),
    ("prompt outside", ("prompt=the suß",), ("prompt", "'ß'"), nothing),
    ("prompt of another script", ("prompt=привет",), ("prompt", "'п'"), nothing),
    ("prompt with a line break", ("prompt=the\nsun",), ("prompt", "'\\n'"), nothing),
    ("prompt with an emoji", ("prompt=the 🎭",), ("prompt", "🎭"), nothing),
]
INVALID_TEXTS = [
    Case(
        "train",
        (*TINY, *PATHS, *arguments),
        expected,
        prepare,
        name=f"text: {name}",
        creates=CORPUS if name.startswith("prompt") else ("data",),  # the data directory stays empty
    )
    for name, arguments, expected, prepare in TEXTS
]
if not ROOT:
    INVALID_TEXTS.append(
        Case("train", (*TINY, *PATHS), ("data.path", "text.txt"), unreadable_text, name="text: no permission")
    )
