"""Metrics of a generated text, compared with the training text.

(Of a long training text with its end: src/evaluation/baselines.py. A copy from further up is not found.)

known_words: the share of its words that occur in the training text; words that the network invented do not. 1
    is good, 0 is noise. None for a text without a whole word.
distinct_1, distinct_2: different words, and pairs of words, over all of them (Li et al. 2016, "A
    diversity-promoting objective function for neural conversation models").
repetition: the share of runs of four words that occurred earlier in the text: seq-rep-4 of Welleck et al.
    (2020), "Neural text generation with unlikelihood training".
longest_match: the longest passage that occurs in the training text, in characters.

All but the first depend on the length of the text, so compare only texts of one length; the metrics of a
passage of the test split are the reference for a human's text.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from src.common.console import format_table
from src.data.corpus import Corpus
from src.evaluation.baselines import reference_tokens
from src.evaluation.suffix_array import longest_copy, suffix_array
from src.generation.sampling import sample
from src.models.serialization import TrainedModel

NON_METRIC_FIELDS = ("source", "temperature", "matched_text", "characters")
WORD = re.compile(r"[^\W\d_]+")  # a run of letters


@dataclass(frozen=True)
class TextMetrics:
    """The metrics of one text.

    Attributes:
        source: `temperature 0.7`, or `final_split` for a held-out text.
        temperature: None for a held-out text.
        characters: Its length.
        matched_text: The longest copied passage, of which longest_match is the length.
    """

    source: str
    temperature: float | None
    characters: int
    known_words: float | None
    distinct_1: float | None
    distinct_2: float | None
    repetition: float | None
    longest_match: int
    matched_text: str

    def columns(self) -> dict[str, float | None]:
        """The metrics by name."""
        return {name: value for name, value in asdict(self).items() if name not in NON_METRIC_FIELDS}

    def metrics(self) -> dict[str, float]:
        """The metrics that the text has: a short one has no runs of four words, an empty one has none."""
        if not self.characters:
            return {}
        return {name: value for name, value in self.columns().items() if value is not None}

    def describe(self) -> str:
        """The heading of the text."""
        known = "" if self.known_words is None else f", {self.known_words:.0%} known words"
        return f"{self.source}{known}, longest copy {self.longest_match} characters"


def final_split(corpus: Corpus) -> str:
    """The split that the final scores come from, in words: `test split` or `validation split`."""
    return {"test": "test split", "val": "validation split"}[corpus.final_split]


class TextQuality:
    """Compares texts with the training split of a corpus, of a long one with its end.

    Its words and its suffix array are computed when they are first needed.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tokens = reference_tokens(corpus)

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(WORD.findall(self.corpus.vocabulary.decode(self.tokens)))

    @cached_property
    def suffixes(self) -> NDArray[np.int64]:
        return suffix_array(self.tokens)

    def compute(self, prompt: str, text: str, temperature: float | None) -> TextMetrics:
        """Compute the metrics of a generated text; a word that is cut by its ends is left out.

        Args:
            prompt: What it continues; normalized here, and not part of the text.
            text: The text, in the characters of the corpus.
            temperature: At which it was generated; None for a held-out text.
        """
        prompt = self.corpus.normalization.apply(prompt)
        words = whole_words(prompt, text)
        passage = self.corpus.vocabulary.encode(text)
        copied, at = longest_copy(self.tokens, self.suffixes, passage) if text else (0, 0)
        known = sum(word in self.words for word in words) / len(words) if words else None
        return TextMetrics(
            source=final_split(self.corpus) if temperature is None else f"temperature {temperature:g}",
            temperature=temperature,
            characters=len(text),
            known_words=known,
            distinct_1=distinct(words, 1),
            distinct_2=distinct(words, 2),
            repetition=None if (share := distinct(words, 4)) is None else 1 - share,
            longest_match=copied,
            matched_text=text[at : at + copied],
        )

    def reference_metrics(self, length: int) -> TextMetrics:
        """Return the metrics of the first `length` characters of the final split."""
        text = self.corpus.vocabulary.decode(self.corpus.split(self.corpus.final_split)[:length])
        return self.compute("", text, None)


def whole_words(prompt: str, text: str) -> list[str]:
    """The words that begin after the prompt and end before the text does."""
    found = WORD.finditer(prompt + text)
    return [m.group() for m in found if m.start() >= len(prompt) and m.end() < len(prompt) + len(text)]


def distinct(words: list[str], n: int) -> float | None:
    """Share of different runs of n words; None without such a run."""
    runs = list(zip(*(words[k:] for k in range(n)), strict=False))
    return len(set(runs)) / len(runs) if runs else None


def temperature_metrics(
    model: TrainedModel,
    quality: TextQuality,
    prompt: str,
    temperatures: Iterable[float],
    length: int,
    seed: int,
) -> list[TextMetrics]:
    """Generate a text at each temperature, from the same random numbers, and compute its metrics.

    Args:
        model: The network.
        quality: The training text to compare with.
        prompt: What each text continues.
        temperatures: The temperatures.
        length: Characters of each text.
        seed: Of the random numbers.

    Returns:
        The metrics of each text, and at the end those of as much held-out text.

    Raises:
        UserError: The vocabulary lacks a character of the prompt.
    """
    metrics = []
    for temperature in temperatures:
        text = "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))
        metrics.append(quality.compute(prompt, text, temperature))
    return [*metrics, quality.reference_metrics(length)]


def metrics_table(metrics: list[TextMetrics]) -> str:
    """Format the metrics of texts for a terminal, and below them the longest copied passages."""
    lengths = sorted({m.characters for m in metrics})
    count = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
    shares = ("known_words", "distinct_1", "distinct_2", "repetition")
    table = format_table(
        ("", *(name.replace("_", " ") for name in shares), "longest copy"),
        [
            (
                m.source,
                *("-" if (v := getattr(m, name)) is None else f"{v:.1%}" for name in shares),
                str(m.longest_match),
            )
            for m in metrics
        ],
    )
    return "\n".join(
        [
            f"texts of {count} characters, compared with the training text",
            table,
            "\nlongest passages copied from the training text",
            *(f"  {m.source:<16}  {truncate(m.matched_text)}" for m in metrics),
        ]
    )


def truncate(passage: str, most: int = 48) -> str:
    """A passage on one line, its middle left out where it is long."""
    if len(passage) > most:
        passage = f"{passage[: most // 2 - 1]}...{passage[2 - most // 2 :]}"
    return repr(passage)
