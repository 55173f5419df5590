"""A text prepared for training: token file, vocabulary and manifest, in a folder named after their digest.

The digest covers the bytes of the source and every setting, so a prepared corpus is never out of date: other
bytes or settings give another digest, and so another corpus.
"""

import hashlib
import json
import math
import os
import re
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

# Returns name and bytes (in pieces) of each file; each call starts at the beginning. See `Source.parts`.
Text = Callable[[], Iterable[tuple[str, Iterable[bytes]]]]

# Since format 3: no byte order mark, one kind of line end, lower case by character. For an ASCII text without
# `\r` only the digest changed; for other texts the number keeps a corpus of format 2 from being reused.
FORMAT = 3
SHORTEST_OPENING, LONGEST_OPENING = 20, 30  # characters of the prompt that a text gives itself
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CorpusConfig:
    """Settings that determine which corpus is prepared from a source."""

    name: str  # the choice of `data=`
    encoding: str  # of the source, or `bytes`
    normalization: Normalization
    split: tuple[float, float, float]  # contiguous shares for training, validation and test; their sum is 1


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus.

    Attributes:
        folder: Its folder.
        name: Name of the text: the choice of `data=`; for the user's own text, that of its file.
        digest: SHA-256 of the source and the settings, in hexadecimal; see `_digest_of`.
        vocabulary: The distinct characters, which give the ids their meaning.
        normalization: How the text was normalized; a prompt is normalized in the same way.
        tokens: Token ids of the whole text, shape (N,), read-only and memory-mapped; uint8 for a vocabulary
            of at most 256 characters, else uint16.
        bounds: First position of each split, and the position after its last token.
        files: Names of the files of the source, in the order of the text.
    """

    folder: Path
    name: str
    digest: str
    vocabulary: Vocabulary
    normalization: Normalization
    tokens: NDArray[np.uint8] | NDArray[np.uint16]
    bounds: dict[str, tuple[int, int]]
    files: tuple[str, ...] = ()

    def split(self, name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the token ids of a split.

        Args:
            name: `train`, `val` or `test`.

        Returns:
            View of `tokens`, one-dimensional; empty if the share of the split is 0.
        """
        start, stop = self.bounds[name]
        return self.tokens[start:stop]

    @property
    def opening(self) -> str:
        """Beginning of the validation split: the prompt of a run for which none is given (`opening_of`)."""
        return opening_of(self.vocabulary.decode(self.split("val")[: 2 * LONGEST_OPENING]))

    @property
    def final_split(self) -> str:
        """Split of the final scores: `test`, or `val` if there is no test split."""
        return "test" if self.split("test").size else "val"


def opening_of(text: str) -> str:
    """Cut the beginning of a text at words.

    Args:
        text: The text, which may begin inside a word.

    Returns:
        From the beginning of a word, as many whole words as LONGEST_OPENING characters hold, with one space
        or line end after the last. Of a text without spaces (Chinese, DNA), or with too few of them, the
        first SHORTEST_OPENING characters.

    Examples:
        >>> opening_of("ghtly spent  now proceeds the time that was forgotten")
        'spent  now proceeds the time '
        >>> opening_of("GATTACA" * 9)
        'GATTACAGATTACAGATTAC'
    """
    first = re.search(r"\s(?=\S)", text[:LONGEST_OPENING])
    text = text[first.end() if first else 0 :][:LONGEST_OPENING]
    ends = [space.end() for space in re.finditer(r"(?<=\S)\s", text)]
    return text[: ends[-1] if ends and ends[-1] >= SHORTEST_OPENING else SHORTEST_OPENING]


def bounds_of(count: int, shares: tuple[float, float, float]) -> dict[str, tuple[int, int]]:
    """Compute where each split of a text begins and ends.

    Args:
        count: Number of characters of the text.
        shares: Shares of training, validation and test, which add up to 1.

    Returns:
        By name of the split, its first position and the position after its last character.

    Examples:
        >>> bounds_of(96, (0.8, 0.1, 0.1))
        {'train': (0, 77), 'val': (77, 86), 'test': (86, 96)}
    """
    ends = [round(count * share) for share in np.cumsum(shares)]
    return dict(zip(SPLITS, pairwise([0, *ends]), strict=True))


def check_length(count: int, shares: tuple[float, float, float], seq_len: int) -> None:
    """Check that each split of a text has space for one window: seq_len inputs and one last target.

    Args:
        count: Number of characters of the text.
        shares: Shares of training, validation and test; a split with the share 0 needs no window.
        seq_len: Length of a window, in characters.

    Raises:
        UserError: The text is too short; the message gives the smallest sufficient length.
    """

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
    text: Text,
    settings: CorpusConfig,
    seq_len: int,
    data_dir: Path,
    max_vocabulary: int = MAX_VOCABULARY,
    name: str = "",
) -> tuple[Corpus, bool]:
    """Return the corpus of a text; prepare it if it does not exist.

    The text is read once to compute the digest, and a second time to prepare the corpus. After an error no
    incomplete folder remains.

    Args:
        text: Function that returns the files of the text.
        settings: Settings of the corpus.
        seq_len: Length of a window, in characters.
        data_dir: Folder of all prepared corpora.
        max_vocabulary: Largest allowed number of distinct characters.
        name: Name of the text, with which the folder begins; it is not part of the digest. "" (the default)
            for that of the settings.

    Returns:
        The corpus, and whether it was prepared in this call (False: it existed).

    Raises:
        UserError: The text cannot be read or decoded, is too short, or has fewer than 2 or more than
            max_vocabulary distinct characters; or an existing corpus is damaged, or `data_dir` is not
            writable.
    """
    sha256, name = hashlib.sha256(), name or settings.name
    for _, pieces in text():
        for piece in pieces:
            sha256.update(piece)
    digest = _digest_of(sha256.digest(), settings)
    folder = data_dir / f"{name}-{digest[:12]}"
    made = not (folder / "manifest.json").exists()
    if made:
        with _atomic_directory(folder) as temporary:
            make(text, settings, seq_len, max_vocabulary, temporary, sha256.hexdigest(), name)
    corpus = load(folder)
    check_length(corpus.tokens.size, settings.split, seq_len)
    check_size(len(corpus.vocabulary), max_vocabulary)
    # data/NAME.txt links to the text that the network reads now, so that a person can open it. A file of the
    # user that has this name is kept.
    link, target = data_dir / f"{settings.name}.txt", f"{folder.name}/text.txt"
    if os.readlink(link) != target if link.is_symlink() else not link.is_file():
        write_atomically(link, lambda temporary: temporary.symlink_to(target))
    return corpus, made


def make(
    text: Text,
    settings: CorpusConfig,
    seq_len: int,
    max_vocabulary: int,
    folder: Path,
    sha256: str,
    name: str,
) -> None:
    """Fill a folder with the files of a corpus.

    Args:
        text: Function that returns the files of the text.
        settings: Settings of the corpus.
        seq_len: Length of a window, in characters.
        max_vocabulary: Largest allowed number of distinct characters.
        folder: Existing folder into which the files are written.
        sha256: SHA-256 of the text when it was last read, in hexadecimal.
        name: Name of the text.

    Raises:
        UserError: The text has changed since then, cannot be read or decoded, is too short, or has fewer than
            2 or more than max_vocabulary distinct characters.
        OSError: A file cannot be written.
    """
    digest, size, files = hashlib.sha256(), 0, list[str]()

    def seen(pieces: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal size
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            yield piece

    def decoded() -> Iterator[str]:
        for file, pieces in text():
            files.extend([file] if file else [])
            yield from characters(seen(pieces), settings.encoding if file else "ascii", file)

    count, distinct = write_normalized(decoded(), settings.normalization, folder / "text.txt")
    if digest.hexdigest() != sha256:
        raise UserError(
            "data.path: expected a text that does not change, got one that changed while it was read: "
            "try again"
        )
    vocabulary = _vocabulary_of(distinct, count, settings.split, seq_len, max_vocabulary)
    tokens_sha256 = write_tokens(folder / "text.txt", count, vocabulary, folder / "tokens.npy")
    write_json(folder / "vocab.json", list(vocabulary.characters))
    source = {"sha256": sha256, "bytes": size, "name": name, "files": files}
    manifest = _manifest_of(source, settings, count, vocabulary, tokens_sha256)
    write_json(folder / "manifest.json", manifest)


def _vocabulary_of(
    distinct: str, count: int, shares: tuple[float, float, float], seq_len: int, max_vocabulary: int
) -> Vocabulary:
    """Return the vocabulary of a text of `count` characters.

    Raises:
        UserError: The text is too short, or has too few or too many distinct characters.
    """
    check_length(count, shares, seq_len)
    vocabulary = Vocabulary.of(distinct, max_vocabulary)
    if len(vocabulary) < 2:
        raise UserError(f"data: expected at least 2 distinct characters, got {len(vocabulary)}")
    return vocabulary


def corpus_of_text(text: str, data: DataConfig, seq_len: int) -> Corpus:
    """Prepare a text in memory, as `prepare` does on disk.

    Args:
        text: The text.
        data: Keys of the group `data`; its source and its encoding are not used.
        seq_len: Length of a window, in characters.

    Returns:
        The corpus; it has no folder.

    Raises:
        UserError: The text is too short, or has too few or too many distinct characters.
    """
    normalization = Normalization(data.lowercase, data.letters_only, data.collapse_spaces)
    normal = normalization.apply("".join(characters([text.encode()], "utf-8")))
    first, second, third = data.split
    shares = (first, second, third)
    vocabulary = _vocabulary_of(normal, len(normal), shares, seq_len, data.max_vocabulary)
    tokens, digest = vocabulary.encode(normal), hashlib.sha256(normal.encode()).hexdigest()
    return Corpus(Path(), "text", digest, vocabulary, normalization, tokens, bounds_of(tokens.size, shares))


def _manifest_of(
    source: dict[str, Any], settings: CorpusConfig, count: int, vocabulary: Vocabulary, tokens_sha256: str
) -> dict[str, Any]:
    """Return the content of manifest.json; `source` has the SHA-256, size, name and files of the source."""
    vocabulary_digest = hashlib.sha256(vocabulary.characters.encode(errors="surrogatepass")).hexdigest()
    return {
        "format": FORMAT,
        "digest": _digest_of(bytes.fromhex(source["sha256"]), settings),
        "source": source,
        "settings": {**asdict(settings), "split": list(settings.split)},
        "characters": count,
        "vocabulary": {"size": len(vocabulary), "sha256": vocabulary_digest},
        "tokens": {"dtype": vocabulary.dtype.name, "sha256": tokens_sha256},
        "splits": {name: list(bounds) for name, bounds in bounds_of(count, settings.split).items()},
    }


def _digest_of(source: bytes, settings: CorpusConfig) -> str:
    """Return the digest of a corpus: SHA-256 of the source's digest, of the format and of the settings."""
    stated = json.dumps({"format": FORMAT, **asdict(settings)}, sort_keys=True).encode()
    return hashlib.sha256(source + stated).hexdigest()


@contextmanager
def _atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `folder` at the end of the block.

    The folder appears complete or not at all. If another process has prepared the same folder in the
    meantime, that one is kept.
    """  # noqa: DOC501 (`write_error` returns a UserError)
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
    """Open a prepared corpus and check that its files agree with each other.

    Args:
        folder: Folder of the corpus.

    Returns:
        The corpus, with memory-mapped tokens.

    Raises:
        UserError: A file is missing or damaged, or was changed after it was written.
    """  # noqa: DOC501 (the ValueError is caught below)
    try:
        manifest = decode_json((folder / "manifest.json").read_bytes())
        vocabulary = Vocabulary("".join(decode_json((folder / "vocab.json").read_bytes())))
        tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        stated, source = manifest["settings"], manifest["source"]
        normalization, split = Normalization(**stated["normalization"]), tuple(stated["split"])
        settings = CorpusConfig(stated["name"], stated["encoding"], normalization, split)
        # Build the manifest again from the files: this checks every type, size and digest in it.
        # Earlier versions wrote no name and no files.
        name, files = str(source.get("name", settings.name)), [str(file) for file in source.get("files", [])]
        known = {"sha256": source["sha256"], "bytes": int(source["bytes"]), "name": name, "files": files}
        checked = {key: known[key] for key in source}
        tokens_sha256 = hashlib.sha256(tokens).hexdigest()
        expected = _manifest_of(checked, settings, tokens.size, vocabulary, tokens_sha256)
        if manifest != expected or (tokens.ndim, tokens.dtype) != (1, vocabulary.dtype):
            raise ValueError("a file changed after it was written")
        return Corpus(
            folder=folder,
            name=name,
            digest=manifest["digest"],
            vocabulary=vocabulary,
            normalization=normalization,
            tokens=tokens,
            bounds=bounds_of(tokens.size, split),
            files=tuple(files),
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"data_dir: expected a whole prepared corpus, got a damaged one in {folder} ({error}): "
            "delete that folder; it is prepared again"
        ) from error


def load_corpus(data: DataConfig, seq_len: int, data_dir: Path) -> tuple[Corpus, bool]:
    """Find the source of a corpus, and return the corpus; prepare it if it does not exist.

    Args:
        data: Keys of the group `data` of the config.
        seq_len: Length of a window, in characters.
        data_dir: Folder of all prepared corpora; downloads are stored in its folder `downloads`.

    Returns:
        The corpus, and whether it was prepared in this call (False: it existed).

    Raises:
        UserError: The text cannot be read or is too short for windows of seq_len, or keys of `data`
            contradict each other; see also `prepare`.
    """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
    if data.encoding == BYTES and (data.lowercase or data.letters_only):
        expected = "a text encoding with data.lowercase or data.letters_only (bytes are not letters)"
        raise invalid_value_error("data.encoding", expected, BYTES)
    source = sources.find(data.name, data.path, data_dir / "downloads")
    normalization = Normalization(data.lowercase, data.letters_only, data.collapse_spaces)
    split = (data.split[0], data.split[1], data.split[2])
    settings = CorpusConfig(data.name, data.encoding, normalization, split)
    return prepare(source.parts, settings, seq_len, data_dir, data.max_vocabulary, source.name)
