"""A text prepared for training: token file, vocabulary and manifest, under a name that is their digest.

The digest covers the source's bytes and every setting, so a prepared corpus is never out of date: what
has another digest is another corpus.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.errors import InputError
from src.files import cannot_write, write_json, write_text
from src.text.normalisation import Normalisation
from src.text.vocabulary import Vocabulary

FORMAT = 2
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Settings:
    """What decides how a source becomes a corpus.

    split: contiguous shares for training, validation and test, which add up to 1.
    """

    name: str
    encoding: str
    normalisation: Normalisation
    split: tuple[float, float, float]


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus. tokens (N,): the ids, read-only and memory-mapped."""

    folder: Path
    name: str
    digest: str
    vocabulary: Vocabulary
    normalisation: Normalisation
    tokens: NDArray[np.uint8] | NDArray[np.uint16]
    bounds: dict[str, tuple[int, int]]

    def split(self, name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Ids of `train`, `val` or `test`; empty where there is no such split."""
        start, stop = self.bounds[name]
        return self.tokens[start:stop]

    @property
    def final_split(self) -> str:
        """Where the final scores come from: `test`, or `val` when there is no test split."""
        return "test" if self.split("test").size else "val"


def bounds_of(count: int, shares: tuple[float, float, float]) -> dict[str, tuple[int, int]]:
    """Where each split begins and ends in `count` characters."""
    ends = [round(count * share) for share in np.cumsum(shares)]
    return {name: (start, end) for name, start, end in zip(SPLITS, [0, *ends], ends, strict=False)}


def check_length(count: int, shares: tuple[float, float, float], seq_len: int) -> None:
    """Refuse a text too short for one window (seq_len inputs and one last target) in each split."""

    def fits(n: int) -> bool:
        sizes = [stop - start for start, stop in bounds_of(n, shares).values()]
        return all(size > seq_len for size, share in zip(sizes, shares, strict=True) if share > 0)

    if fits(count):
        return
    # Rounding makes the splits' sizes uneven in the text's length: from a length that surely fits, down.
    needed = math.ceil((seq_len + 2) / min(share for share in shares if share > 0))
    while fits(needed - 1):
        needed -= 1
    raise InputError(
        f"data: expected at least {needed} characters for one window of seq_len={seq_len} in each split of "
        f"{list(shares)}, got {count}: use a longer text, a smaller seq_len or another data.split"
    )


def decode(raw: bytes, encoding: str) -> str:
    """The text of bytes; InputError names the first byte that does not fit the encoding."""
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"data.encoding: expected text in {encoding}, got byte 0x{raw[error.start]:02x} at position "
            f"{error.start}: name the text's own encoding, latin-1 for example"
        ) from error
    except (LookupError, ValueError) as error:
        raise InputError(f"data.encoding: expected a text encoding such as utf-8, got {encoding}") from error


def prepare(raw: bytes, settings: Settings, seq_len: int, data_dir: Path) -> tuple[Corpus, bool]:
    """The corpus of `raw`, and whether it had to be made (False: it stood there already).

    Raises InputError for a text that cannot be read or is too short, before anything is written.
    """
    digest = digest_of(raw, settings)
    folder = data_dir / f"{settings.name}-{digest[:12]}"
    if (folder / "manifest.json").exists():
        corpus = load(folder)
        check_length(corpus.tokens.size, settings.split, seq_len)
        show_text(folder, data_dir / f"{settings.name}.txt")
        return corpus, False
    text = settings.normalisation.apply(decode(raw, settings.encoding))
    check_length(len(text), settings.split, seq_len)
    vocabulary = Vocabulary.of(text)
    if len(vocabulary) < 2:
        raise InputError(f"data: expected at least 2 distinct characters, got {len(vocabulary)}")
    tokens = vocabulary.encode(text)
    manifest = {
        "format": FORMAT,
        "digest": digest,
        "source": {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)},
        "settings": asdict(settings),
        "characters": tokens.size,
        "vocabulary": {"size": len(vocabulary), "sha256": digest_of_text(vocabulary.characters)},
        "tokens": {"dtype": tokens.dtype.name, "sha256": hashlib.sha256(tokens.tobytes()).hexdigest()},
        "splits": bounds_of(tokens.size, settings.split),
    }
    write(folder, tokens, vocabulary, manifest, text)
    show_text(folder, data_dir / f"{settings.name}.txt")
    return load(folder), True


def digest_of(raw: bytes, settings: Settings) -> str:
    """sha256 over the source and the settings, in hexadecimal."""
    stated = json.dumps({"format": FORMAT, **asdict(settings)}, sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(raw).digest() + stated).hexdigest()


def digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def show_text(folder: Path, link: Path) -> None:
    """Let data/NAME.txt be the text that the network reads now: for a person to open."""
    target = f"{folder.name}/text.txt"
    if link.is_symlink() and os.readlink(link) == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        raise cannot_write(link, error) from error


def write(
    folder: Path, tokens: NDArray[Any], vocabulary: Vocabulary, manifest: dict[str, Any], text: str
) -> None:
    """The files, in a folder that appears complete or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            np.save(temporary / "tokens.npy", tokens)
            write_text(temporary / "text.txt", text)
            write_json(temporary / "vocab.json", list(vocabulary.characters))
            write_json(temporary / "manifest.json", manifest)
            temporary.chmod(0o755)
            if not (folder / "manifest.json").exists():  # another process may have been faster
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def load(folder: Path) -> Corpus:
    """Open a prepared corpus; InputError when its files do not hold together."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        characters = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
        settings = manifest["settings"]
        splits = {name: (start, stop) for name, (start, stop) in manifest["splits"].items()}
        whole = (
            hashlib.sha256(tokens).hexdigest() == manifest["tokens"]["sha256"]
            and digest_of_text("".join(characters)) == manifest["vocabulary"]["sha256"]
            and splits == bounds_of(tokens.size, tuple(settings["split"]))
        )
        if not whole:
            raise ValueError("a file changed after it was written")
        return Corpus(
            folder=folder,
            name=settings["name"],
            digest=manifest["digest"],
            vocabulary=Vocabulary("".join(characters)),
            normalisation=Normalisation(**settings["normalisation"]),
            tokens=tokens,
            bounds=splits,
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"data_dir: expected a whole prepared corpus, got a damaged one in {folder} ({error}): "
            "delete that folder, it is made again"
        ) from error
