"""A text prepared for training: token file, vocabulary and manifest, under a name that is their digest.

The digest covers the source's bytes and every setting, so a prepared corpus is never out of date: another
digest is another corpus.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.common.errors import UserError
from src.common.files import decode_json, write_atomically, write_error, write_json
from src.config.constraints import invalid_value_error
from src.config.schema import DataConfig
from src.data import sources
from src.data.normalization import Normalization
from src.data.sources import BYTES, characters
from src.data.vocabulary import MAX_VOCABULARY, Vocabulary, check_size, write_normalized, write_tokens

Text = Callable[[], Iterable[bytes]]  # returns the bytes in pieces; each call starts at the beginning

# Since format 3: no byte order mark, one kind of line end, lower case by character. For an ASCII text without
# `\r` only the digest changed; for other texts the number keeps a corpus of format 2 from being reused.
FORMAT = 3
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CorpusConfig:
    """Settings that determine the corpus that is prepared from a source.

    split: contiguous shares for training, validation and test, which add up to 1.
    """

    name: str
    encoding: str
    normalization: Normalization
    split: tuple[float, float, float]


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus. tokens (N,): the ids, read-only and memory-mapped."""

    folder: Path
    name: str
    digest: str
    vocabulary: Vocabulary
    normalization: Normalization
    tokens: NDArray[np.uint8] | NDArray[np.uint16]
    bounds: dict[str, tuple[int, int]]

    def split(self, name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Ids of `train`, `val` or `test`; empty where there is no such split."""
        start, stop = self.bounds[name]
        return self.tokens[start:stop]

    @property
    def final_split(self) -> str:
        """Split of the final scores: `test`, or `val` if there is no test split."""
        return "test" if self.split("test").size else "val"


def bounds_of(count: int, shares: tuple[float, float, float]) -> dict[str, tuple[int, int]]:
    """Return the start and the end of each split of `count` characters.

    >>> bounds_of(96, (0.8, 0.1, 0.1))
    {'train': (0, 77), 'val': (77, 86), 'test': (86, 96)}
    """
    ends = [round(count * share) for share in np.cumsum(shares)]
    return dict(zip(SPLITS, pairwise([0, *ends]), strict=True))


def check_length(count: int, shares: tuple[float, float, float], seq_len: int) -> None:
    """Refuse a text too short for one window (seq_len inputs and one last target) in each split."""

    def fits(n: int) -> bool:
        sizes = [stop - start for start, stop in bounds_of(n, shares).values()]
        return all(size > seq_len for size, share in zip(sizes, shares, strict=True) if share > 0)

    if fits(count):
        return
    # Rounding makes the sizes of the splits irregular: search downward from a length that surely fits.
    needed = math.ceil((seq_len + 2) / min(share for share in shares if share > 0))
    while fits(needed - 1):
        needed -= 1
    raise UserError(
        f"data: expected at least {needed} characters for one window of seq_len={seq_len} in each split of "
        f"{list(shares)}, got {count}: use a longer text, a smaller seq_len or another data.split"
    )


def prepare(
    text: Text, settings: CorpusConfig, seq_len: int, data_dir: Path, max_vocabulary: int = MAX_VOCABULARY
) -> tuple[Corpus, bool]:
    """Return the corpus of a text, and whether it had to be made (False: it existed).

    The text is read once to see whether its corpus exists, and once more to make it. Raises UserError
    for one that cannot be read, is too short or has more than max_vocabulary distinct characters, and leaves
    no partial folder then.
    """
    source = hashlib.sha256()
    for piece in text():
        source.update(piece)
    digest = digest_of(source.digest(), settings)
    folder = data_dir / f"{settings.name}-{digest[:12]}"
    made = not (folder / "manifest.json").exists()
    if made:
        with atomic_directory(folder) as temporary:
            make(text, settings, seq_len, max_vocabulary, temporary, source.hexdigest())
    corpus = load(folder)
    check_length(corpus.tokens.size, settings.split, seq_len)
    check_size(len(corpus.vocabulary), max_vocabulary)
    # data/NAME.txt links to the text that the network reads now, so that a person can open it.
    link, target = data_dir / f"{settings.name}.txt", f"{folder.name}/text.txt"
    if not (link.is_symlink() and os.readlink(link) == target):
        write_atomically(link, lambda temporary: temporary.symlink_to(target))
    return corpus, made


def make(
    text: Text, settings: CorpusConfig, seq_len: int, max_vocabulary: int, folder: Path, sha256: str
) -> None:
    """Fill a folder with a corpus' files. sha256: of the text when it was last read."""
    source, size = hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        for piece in text():
            source.update(piece)
            size += len(piece)
            yield piece

    read = characters(pieces(), settings.encoding)
    count, distinct = write_normalized(read, settings.normalization, folder / "text.txt")
    if source.hexdigest() != sha256:
        raise UserError(
            "data.path: expected a text that does not change, got one that changed while it was read: "
            "try again"
        )
    check_length(count, settings.split, seq_len)
    vocabulary = Vocabulary.of(distinct, max_vocabulary)
    if len(vocabulary) < 2:
        raise UserError(f"data: expected at least 2 distinct characters, got {len(vocabulary)}")
    tokens_sha256 = write_tokens(folder / "text.txt", count, vocabulary, folder / "tokens.npy")
    write_json(folder / "vocab.json", list(vocabulary.characters))
    manifest = manifest_of(sha256, size, settings, count, vocabulary, tokens_sha256)
    write_json(folder / "manifest.json", manifest)


def manifest_of(
    source_sha256: str,
    size: int,
    settings: CorpusConfig,
    count: int,
    vocabulary: Vocabulary,
    tokens_sha256: str,
) -> dict[str, Any]:
    """Build the content of manifest.json.

    Args:
        source_sha256: SHA-256 of the text's bytes, in hexadecimal.
        size: Their number.
        settings: How the text becomes a corpus.
        count: Number of tokens.
        vocabulary: The distinct characters.
        tokens_sha256: SHA-256 of the tokens' bytes.
    """
    vocabulary_digest = hashlib.sha256(vocabulary.characters.encode(errors="surrogatepass")).hexdigest()
    return {
        "format": FORMAT,
        "digest": digest_of(bytes.fromhex(source_sha256), settings),
        "source": {"sha256": source_sha256, "bytes": size},
        "settings": {**asdict(settings), "split": list(settings.split)},
        "characters": count,
        "vocabulary": {"size": len(vocabulary), "sha256": vocabulary_digest},
        "tokens": {"dtype": vocabulary.dtype.name, "sha256": tokens_sha256},
        "splits": {name: list(bounds) for name, bounds in bounds_of(count, settings.split).items()},
    }


def digest_of(source: bytes, settings: CorpusConfig) -> str:
    """sha256 over the source's own sha256 and the settings, in hexadecimal."""
    stated = json.dumps({"format": FORMAT, **asdict(settings)}, sort_keys=True).encode()
    return hashlib.sha256(source + stated).hexdigest()


@contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill, which then appears as `folder` complete or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            if not (folder / "manifest.json").exists():  # another process may have finished first
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise write_error(folder, error) from error


def load(folder: Path) -> Corpus:
    """Open a prepared corpus; UserError when its files do not hold together."""
    try:
        manifest = decode_json((folder / "manifest.json").read_bytes())
        vocabulary = Vocabulary("".join(decode_json((folder / "vocab.json").read_bytes())))
        tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        stated, source = manifest["settings"], manifest["source"]
        normalization, split = Normalization(**stated["normalization"]), tuple(stated["split"])
        settings = CorpusConfig(stated["name"], stated["encoding"], normalization, split)
        # Build the manifest again from the files: this checks every type, size and digest in it.
        expected = manifest_of(
            source["sha256"],
            int(source["bytes"]),
            settings,
            tokens.size,
            vocabulary,
            hashlib.sha256(tokens).hexdigest(),
        )
        if manifest != expected or (tokens.ndim, tokens.dtype) != (1, vocabulary.dtype):
            raise ValueError("a file changed after it was written")
        return Corpus(
            folder=folder,
            name=settings.name,
            digest=manifest["digest"],
            vocabulary=vocabulary,
            normalization=normalization,
            tokens=tokens,
            bounds=bounds_of(tokens.size, split),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"data_dir: expected a whole prepared corpus, got a damaged one in {folder} ({error}): "
            "delete that folder; it is prepared again"
        ) from error


def load_corpus(data: DataConfig, seq_len: int, data_dir: Path) -> tuple[Corpus, bool]:
    """The prepared corpus, and whether it had to be made now.

    Raises UserError when the text cannot be read or is too short for windows of seq_len.
    """
    path = Path(data.path).expanduser().absolute() if data.path is not None else None
    if data.encoding == BYTES and (data.lowercase or data.letters_only):
        expected = "a text encoding with data.lowercase or data.letters_only (bytes are not letters)"
        raise invalid_value_error("data.encoding", expected, BYTES)
    source = sources.find(data.name, path, data_dir / "downloads")
    settings = CorpusConfig(
        name=data.name,
        encoding=data.encoding,
        normalization=Normalization(data.lowercase, data.letters_only, data.collapse_spaces),
        split=(data.split[0], data.split[1], data.split[2]),
    )
    return prepare(source.pieces, settings, seq_len, data_dir, data.max_vocabulary)
