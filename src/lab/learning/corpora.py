"""The corpus that a configuration names, prepared."""

from pathlib import Path

from src.checks import refuse
from src.config import DataConfig
from src.text import sources
from src.text.corpus import Corpus, Settings, prepare
from src.text.decoding import BYTES
from src.text.normalisation import Normalisation


def corpus_of(data: DataConfig, seq_len: int, data_dir: Path) -> tuple[Corpus, bool]:
    """The prepared corpus, and whether it had to be made now.

    Raises InputError when the text cannot be read or is too short for windows of seq_len.
    """
    path = Path(data.path).expanduser().absolute() if data.path is not None else None
    if data.encoding == BYTES and (data.lowercase or data.letters_only):
        expected = "a text's encoding with data.lowercase or data.letters_only (no byte is a letter)"
        raise refuse("data.encoding", expected, BYTES)
    source = sources.find(data.name, path, data_dir / "downloads")
    settings = Settings(
        name=data.name,
        encoding=data.encoding,
        normalisation=Normalisation(data.lowercase, data.letters_only, data.collapse_spaces),
        split=(data.split[0], data.split[1], data.split[2]),
    )
    return prepare(source.pieces, settings, seq_len, data_dir, data.max_vocabulary)
