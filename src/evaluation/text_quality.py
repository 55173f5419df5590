"""Metrics of a generated text, compared with the training text.

The training text is the end of a long training split (`src.evaluation.baselines.reference_tokens`); copies
from earlier text are not found.

known_words: share of the words that occur in the training text; invented words do not. 1 is good, 0 is noise.
None for a text without a whole word.

distinct_1, distinct_2: number of different words, and of different pairs of words, divided by their total
number (Li et al. 2016, "A diversity-promoting objective function for neural conversation models").

repetition: share of the sequences of four words that occurred earlier in the text: seq-rep-4 of Welleck et
al. (2020), "Neural text generation with unlikelihood training".

longest_match: length of the longest passage that occurs in the training text, in characters.

All metrics except known_words depend on the length of the text, so compare only texts of the same length. The
metrics of a passage of the final split are the reference for text by a human.
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
WORD = re.compile(r"[^\W\d_]+")  # a sequence of letters

# Explains the words of the table, in lines of at most WIDTH characters.
LEGEND = (
    "  known words: share of the words that are in the training text",
    "  different words, pairs: number of different ones, divided by the number of all",
    "  repeated: share of sequences of four words that occurred before in the text",
    "  longest copy: characters of the longest passage that is in the training text",
)


@dataclass(frozen=True)
class TextMetrics:
    """Metrics of one text, as the module docstring defines them.

    Attributes:
        source: For example `temperature 0.7`; `test split` or `validation split` for a held-out text.
        temperature: Temperature of the sample; None for a held-out text.
        characters: Length of the text.
        known_words: Share of known words, 0 to 1; None without a whole word.
        distinct_1: Share of different words, 0 to 1; None without a whole word.
        distinct_2: Share of different pairs of words, 0 to 1; None for fewer than two words.
        repetition: Share of repeated sequences of four words, 0 to 1; None for fewer than four words.
        longest_match: Length of `matched_text` in characters.
        matched_text: Longest passage copied from the training text.
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
        """Return all metrics by name, for a table.

        Returns:
            The values; None for a metric that the text does not have.
        """
        return {name: value for name, value in asdict(self).items() if name not in NON_METRIC_FIELDS}

    def metrics(self) -> dict[str, float]:
        """Return the metrics that the text has, by name.

        Returns:
            The values that are not None: a short text may have no sequence of four words. Empty for an empty
            text.
        """
        if not self.characters:
            return {}
        return {name: value for name, value in self.columns().items() if value is not None}

    def describe(self) -> str:
        """Return the heading of the text.

        Returns:
            For example `temperature 0.7, 93% of words in training text, longest copy 24 characters`.
        """
        known = "" if self.known_words is None else f", {self.known_words:.0%} of words in training text"
        return f"{self.source}{known}, longest copy {self.longest_match} characters"


def final_split(corpus: Corpus) -> str:
    """Return the name of the final split in messages and tables.

    Args:
        corpus: Corpus whose final split is named.

    Returns:
        `test split`, or `validation split` for a corpus without a test split.
    """
    return {"test": "test split", "val": "validation split"}[corpus.final_split]


class TextQuality:
    """Comparison of texts with the training split of a corpus, or with the end of a long one.

    The words and the suffix array of the training text are computed when they are first needed.

    Args:
        corpus: Corpus with the training split, its vocabulary and its normalization.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.tokens = reference_tokens(corpus)

    @cached_property
    def words(self) -> frozenset[str]:
        """The different words of the training text."""
        return frozenset(WORD.findall(self.corpus.vocabulary.decode(self.tokens)))

    @cached_property
    def suffixes(self) -> NDArray[np.int64]:
        """Suffix array of the training text, int64, shape (M,)."""
        return suffix_array(self.tokens)

    def compute(self, prompt: str, text: str, temperature: float | None) -> TextMetrics:
        """Compute the metrics of a text; words that are cut by its ends are ignored.

        Args:
            prompt: Prompt that the text continues; it is normalized here and is not part of the text.
            text: Generated text, in the characters of the corpus.
            temperature: Temperature of the sample; None for a held-out text.

        Returns:
            The metrics of `text`.

        Raises:
            UserError: The vocabulary lacks a character of the text.
        """
        prompt = self.corpus.normalization.apply(prompt)
        words = _whole_words(prompt, text)
        passage = self.corpus.vocabulary.encode(text)
        copied, at = longest_copy(self.tokens, self.suffixes, passage) if text else (0, 0)
        known = sum(word in self.words for word in words) / len(words) if words else None
        return TextMetrics(
            source=final_split(self.corpus) if temperature is None else f"temperature {temperature:g}",
            temperature=temperature,
            characters=len(text),
            known_words=known,
            distinct_1=_distinct(words, 1),
            distinct_2=_distinct(words, 2),
            repetition=None if (share := _distinct(words, 4)) is None else 1 - share,
            longest_match=copied,
            matched_text=text[at : at + copied],
        )

    def reference_metrics(self, length: int) -> TextMetrics:
        """Compute the metrics of the beginning of the final split.

        Args:
            length: Number of characters of the passage.

        Returns:
            The metrics, with temperature None; of a shorter passage if the split is shorter.
        """
        text = self.corpus.vocabulary.decode(self.corpus.split(self.corpus.final_split)[:length])
        return self.compute("", text, None)


def _whole_words(prompt: str, text: str) -> list[str]:
    """Return the words that begin after the prompt and end before the end of the text."""
    found = WORD.finditer(prompt + text)
    return [m.group() for m in found if m.start() >= len(prompt) and m.end() < len(prompt) + len(text)]


def _distinct(words: list[str], n: int) -> float | None:
    """Return the share of different sequences of n consecutive words; None for fewer than n words."""
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
        model: Trained model that generates the texts.
        quality: Training text to compare with.
        prompt: Prompt that each text continues.
        temperatures: Temperatures, >= 0.
        length: Number of characters of each text.
        seed: Seed of the generator, the same for each text.

    Returns:
        The metrics of each text, and as the last element those of a held-out text of the same length.

    Raises:
        UserError: The vocabulary lacks a character of the prompt.
    """
    metrics = []
    for temperature in temperatures:
        text = "".join(sample(model, prompt, temperature, length, np.random.default_rng(seed)))
        metrics.append(quality.compute(prompt, text, temperature))
    return [*metrics, quality.reference_metrics(length)]


def metrics_table(metrics: list[TextMetrics]) -> str:
    """Format the metrics of texts for a terminal, and below them the longest copied passages.

    Args:
        metrics: Metrics of at least one text, one row each.

    Returns:
        Several lines of text.
    """
    lengths = sorted({m.characters for m in metrics})
    count = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
    shares = ("known_words", "distinct_1", "distinct_2", "repetition")
    table = format_table(
        ("", "known words", "different words", "pairs", "repeated", "longest copy"),
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
            *LEGEND,
            "\nlongest passages copied from the training text",
            *(f"  {m.source:<16}  {truncate(m.matched_text)}" for m in metrics),
        ]
    )


def truncate(passage: str, most: int = 48) -> str:
    """Shorten a passage to one line; the middle of a long passage is left out.

    Args:
        passage: Passage to show.
        most: Length in characters above which the passage is shortened.

    Returns:
        The passage as a Python string literal, so that a line break is visible.
    """
    if len(passage) > most:
        passage = f"{passage[: most // 2 - 1]}...{passage[2 - most // 2 :]}"
    return repr(passage)
