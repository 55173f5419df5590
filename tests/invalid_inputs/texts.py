"""Texts that are unreadable, too short or invalid (tests/data/test_sources.py has every encoding)."""

from pathlib import Path

from src.data.sources import PIECE
from tests.invalid_inputs.case import CORPUS, PATHS, ROOT, TINY, VERSE, Case, nothing
from tests.invalid_inputs.files import named_pipe, text, without_text


def directory_for_text(root: Path) -> None:
    without_text(root)
    (root / "text.txt").mkdir()


MANY_CHARACTERS = "".join(map(chr, range(0x10000, 0x10000 + 2**16 + 1)))
CYRILLIC = "привет, мир: ünïcödé "
BYTES = bytes(range(256)) * 40
TEXTS = [
    ("data.path=none.txt", ("data.path", "none.txt"), nothing),
    ("data.path=text.txt", ("data.path", "text.txt"), directory_for_text),
    ("data.path=", ("data.path",), nothing),
    ("data.path=text.txt/below", ("data.path",), nothing),
    (f"data.path={'x' * 300}", ("data.path",), nothing),
    ("data.path=/proc/self/mem", ("data.path", "/proc/self/mem"), nothing),
    ("data.path=/dev/zero", ("data.path", "/dev/zero"), nothing),
    ("data.path=null", ("data.path", "null"), nothing),
    ("data.path=text.txt", ("data.path", "regular file", "text.txt"), named_pipe),
    ("data=tinyshakespeare", ("data.path", "regular file"), named_pipe),
    ("data=tinyshakespeare", ("data.path", "sha256"), nothing),
    ("", ("data", "got 0"), text(b"")),
    ("", ("data", "got 2"), text(b"ab")),
    ("", ("data", "got 40"), text(b"ab cd" * 8)),
    ("", ("data", "2 distinct characters"), text(b"a" * 5000)),
    ("seq_len=2000", ("seq_len=2000",), nothing),
    ("data.encoding=utf-8", ("data.encoding=utf-16",), text((CYRILLIC * 200).encode("utf-16"))),
    ("data.path=*.doc", ("data.path", "*.doc"), nothing),
    ("data.path=[text.txt,*.doc]", ("data.path", "*.doc"), nothing),
    ("data.path=[]", ("data.path", "in brackets"), nothing),
    ("data.encoding=utf-8", ("data.encoding", "byte 0xff at position 27"), text(VERSE.encode() + b"\xff")),
    ("data.encoding=utf-8", ("data.encoding", f"byte 0xc3 at position {PIECE - 1}"),
     text(b"ab" * (PIECE // 2 - 1) + b"a\xc3(" + VERSE.encode() * 9)),
    ("data.encoding=utf-8", ("data.encoding",), text((VERSE * 99 + "ü").encode()[:-1])),
    ("data.encoding=ascii", ("data.encoding", "byte"), text((CYRILLIC * 200).encode())),
    ("data.encoding=utf-16-le", ("data.encoding",), text(b"\x00\xd8" * 999)),
    ("data.encoding=utf-16", ("data.encoding",), text((VERSE * 99).encode("utf-16")[:-1])),
    ("data.encoding=utf-16", ("data.encoding", "utf-16-le"), text((VERSE * 99).encode("utf-16-le"))),
    ("data.encoding=klingon", ("data.encoding", "klingon"), nothing),
    ("data.encoding=base64_codec", ("data.encoding", "base64_codec"), nothing),
    ("data.encoding=mbcs", ("data.encoding", "mbcs"), nothing),
    ("data.encoding=BYTES", ("data.encoding", "BYTES"), nothing),
    ("data.encoding=", ("data.encoding",), nothing),
    ("data.encoding=bytes data.lowercase=true", ("data.encoding", "data.lowercase", "bytes"), nothing),
    ("data.encoding=bytes data.letters_only=true", ("data.encoding", "data.letters_only", "bytes"), nothing),
    ("data.encoding=bytes data.max_vocabulary=200", ("data.max_vocabulary", "at most 200", "got 256"),
     text(BYTES)),
    ("data.max_vocabulary=65536", ("data.max_vocabulary", "65536", "got 65537"),
     text(MANY_CHARACTERS.encode())),
    ("data.max_vocabulary=5", ("data.max_vocabulary", "at most 5"), nothing),
]  # fmt: skip
PROMPTS = [("the suß", "'ß'"), ("привет", "'п'"), ("the\nsun", "'\\n'"), ("the 🎭", "🎭")]
INVALID_TEXTS = [
    Case("train", (*TINY, *PATHS, *arguments.split()), expected, prepare, name=f"text {k}: {arguments}",
         creates=("data",))  # the data directory stays empty
    for k, (arguments, expected, prepare) in enumerate(TEXTS)
] + [
    Case("train", (*TINY, *PATHS, f"prompt={prompt}", *more), ("prompt", character), creates=CORPUS)
    for prompt, character, *more in (*PROMPTS, ("привет", "'п'", "data.encoding=bytes"))
]  # fmt: skip
if not ROOT:
    INVALID_TEXTS.append(
        Case("train", (*TINY, *PATHS), ("data.path",), lambda root: (root / "text.txt").chmod(0), name="mode")
    )
