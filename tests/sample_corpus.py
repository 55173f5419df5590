"""A text of 400 characters and the settings to prepare it."""

from src.data.corpus import CorpusConfig, Text
from src.data.normalization import Normalization

PLAIN = Normalization(lowercase=True, letters_only=True, collapse_spaces=False)
SETTINGS = CorpusConfig(name="tiny", encoding="utf-8", normalization=PLAIN, split=(0.8, 0.1, 0.1))
TEXT = "Shall I compare thee to a summer's day? " * 10
RAW = TEXT.encode()
RAW_TEXT = Normalization(lowercase=False, letters_only=False, collapse_spaces=False)
NORMAL = "shall i compare thee to a summer s day  " * 10


def single_chunk(raw: bytes) -> Text:
    """Return a text in one chunk."""
    return lambda: [("text.txt", [raw])]
