"""The final scores of a network and of its baselines, as metrics and as a table.

The text is read once statefully and once statelessly, and each prediction is kept: intervals, calibration and
breakdowns are computed from them.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import numpy as np

from src.common.console import WIDTH, format_table
from src.common.errors import DivergenceError
from src.data.corpus import Corpus
from src.evaluation import error_analysis
from src.evaluation.baselines import best, best_ngram_losses, cached_baselines, display_name, reference_tokens
from src.evaluation.error_analysis import Bin, Interval, LossGroup, block_bootstrap_ci
from src.evaluation.scoring import Score, all_finite, predict_stateful, predict_stateless
from src.evaluation.text_quality import TextMetrics, final_split
from src.rnn.parameters import Array, RNNConfig

MAX_FIXED = 1e6  # this perplexity and larger ones are written in scientific notation

# Explains the words of the table, in lines of at most WIDTH characters.
LEGEND = (
    "  nats, bits: mean loss per character, 0 is best; n-gram: counts what followed",
    "  the last n - 1 characters; uniform: gives every character the same probability",
    "  stateful: keeps the hidden state through the text; stateless: resets it",
    "  perplexity: as uncertain as a choice among so many equally likely characters",
    "  accuracy: share of the characters that got the highest probability",
    "  calibration error: mean gap between confidence (that probability) and accuracy",
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a network on the final split of its corpus, with 95% confidence intervals.

    Attributes:
        split: `test`, or `val` for a corpus without a test split.
        n_total: Number of predictions in the whole split; the scores say how many of them were computed.
        seq_len: Window of the stateless score, in characters.
        stateful: Score with the hidden state kept through the whole split.
        stateless: Score with the hidden state set to zero every `seq_len` characters.
        intervals: Confidence interval of the bits per character, by context (`stateful`, `stateless`).
        baselines: Bits per character, by name of the baseline.
        n_reference: Characters of the reference text of baselines and text metrics, the end of the training
            split.
        n_train: Characters of the training split.
        delta_vs_ngram: Bits per character of the network, stateful, minus those of the best n-gram model on
            the same characters, and the confidence interval of that difference.
        bins: Bins of the reliability diagram, stateful.
        by_window: Losses by position in the window, stateless.
        by_character: Losses by character, stateful.
        by_word: Losses by position in the word, stateful.
    """

    split: str
    n_total: int
    seq_len: int
    stateful: Score
    stateless: Score
    intervals: dict[str, Interval]
    baselines: dict[str, float]
    n_reference: int
    n_train: int
    delta_vs_ngram: tuple[float, Interval]
    bins: list[Bin]
    by_window: list[LossGroup]
    by_character: list[LossGroup]
    by_word: list[LossGroup]

    @property
    def prefix(self) -> str:
        """Prefix of the metric names: `test`, or `final_val` (val/loss is the curve of the training)."""
        return "test" if self.split == "test" else "final_val"

    @property
    def ece(self) -> float:
        """Expected calibration error, stateful, 0 to 1."""
        return error_analysis.expected_calibration_error(self.bins)

    def metrics(self) -> dict[str, float]:
        """Return the scores by metric name.

        Returns:
            For example test/bpc (stateful), test_stateless/bpc and test/unigram_bpc. Losses are in nats per
            character, names with `bpc` in bits per character.
        """
        named: dict[str, float] = {}
        for prefix, score in ((self.prefix, self.stateful), (f"{self.prefix}_stateless", self.stateless)):
            interval = self.intervals[score.context]
            named |= {
                f"{prefix}/loss": score.loss,
                f"{prefix}/bpc": score.bpc,
                f"{prefix}/bpc_ci_low": interval.low,
                f"{prefix}/bpc_ci_high": interval.high,
                f"{prefix}/perplexity": score.perplexity,
                f"{prefix}/accuracy": score.accuracy,
            }
        difference, ends = self.delta_vs_ngram
        named |= {
            f"{self.prefix}/ece": self.ece,
            f"{self.prefix}/bpc_minus_ngram": difference,
            f"{self.prefix}/bpc_minus_ngram_ci_low": ends.low,
            f"{self.prefix}/bpc_minus_ngram_ci_high": ends.high,
        }
        return named | {f"{self.prefix}/{name}_bpc": value for name, value in self.baselines.items()}

    def table(self, full: bool = False) -> str:
        """Format the scores for a terminal.

        Args:
            full: Show all baselines and the breakdowns; by default only the best n-gram model, the best
                compressor and the uniform guess.

        Returns:
            Several lines of text.
        """
        split = "test split" if self.split == "test" else "validation split (this corpus has no test split)"
        read = f"{self.stateful.characters:,}"
        if self.stateful.characters < self.n_total:
            read = f"the first {read} of {self.n_total:,}"
        names = {name: display_name(name) for name in self.baselines}
        ngram, compressor = (best(self.baselines, compressor) for compressor in (False, True))
        if not full:
            names = {ngram: f"best n-gram: {names[ngram]}", compressor: f"best compressor: {compressor}"}
            names["uniform"] = display_name("uniform")
        minus, (difference, interval) = f"network minus {display_name(ngram)}", self.delta_vs_ngram
        confidence = sum(b.count * b.confidence for b in self.bins) / self.stateful.characters
        table = format_table(
            ("", "nats", "bits", "95% interval", "perplexity", "accuracy"),
            [
                self._score_row("network, stateful", self.stateful),
                self._score_row("network, stateless", self.stateless),
                *(
                    (label, f"{bits * log(2):.4f}", f"{bits:.4f}", "", f"{2**bits:.3f}")
                    for name, label in names.items()
                    for bits in (self.baselines[name],)
                ),
                (minus, f"{difference * log(2):.4f}", f"{difference:.4f}", _format_interval(interval)),
            ],
        )
        lines = [
            f"{read} characters of the {split}; stateless: windows of {self.seq_len}",
            table,
            f"calibration error {self.ece:.1%} (mean confidence {confidence:.1%}, accuracy "
            f"{self.stateful.accuracy:.1%})",
            *LEGEND,
        ]
        if self.n_reference < self.n_train:
            lines.append(
                f"reference text: the last {self.n_reference:,} of {self.n_train:,} training characters"
            )
        return "\n".join([*lines, *(self._breakdown_lines() if full else [])])

    def _score_row(self, name: str, score: Score) -> tuple[str, ...]:
        """Return the cells of a score: name, nats, bits, 95% interval, perplexity, accuracy."""
        perplexity = f"{score.perplexity:.3f}" if score.perplexity < MAX_FIXED else f"{score.perplexity:.1e}"
        interval = _format_interval(self.intervals[score.context])
        return name, f"{score.loss:.4f}", f"{score.bpc:.4f}", interval, perplexity, f"{score.accuracy:.1%}"

    def _breakdown_lines(self) -> list[str]:
        """Return a heading and one text per breakdown; of the characters the ten with the largest loss."""
        few = [g for g in self.by_window if int(g.name) in (1, 2, 3, 5, 10, 20, 50, 100, 200, self.seq_len)]
        hardest = sorted(self.by_character, key=lambda g: -g.count * g.bpc)[:10]
        return [
            "\nbits per character",
            _format_groups("with n characters read since the reset", few),
            _format_groups("n-th letter of a word", self.by_word),
            _format_groups("the ten characters with the largest total loss", hardest, quoted=True),
        ]

    def report(self, texts: Iterable[TextMetrics]) -> dict[str, Any]:
        """Return the content of evaluation.json: all fields of this class and the metrics of generated texts.

        Args:
            texts: Metrics of each generated text.

        Returns:
            The fields by name, `ece`, and `texts` as a list of dictionaries.
        """
        return {**asdict(self), "ece": self.ece, "texts": [asdict(text) for text in texts]}


def _format_interval(interval: Interval) -> str:
    """Return both ends with three decimals, for example `[2.315, 2.402]`."""
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


def _format_groups(title: str, groups: list[LossGroup], quoted: bool = False) -> str:
    """Return the title, and below it the bits per character of each group; `quoted` makes a space visible."""
    pairs = [f"{repr(g.name) if quoted else g.name}: {g.bpc:.2f}" for g in groups]
    unbroken = "  ".join(pair.replace(" ", "\0") for pair in pairs)
    lines = textwrap.fill(unbroken, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"  {title}\n{lines}".replace("\0", " ")


def evaluate_network(
    architecture: RNNConfig,
    params: Array,
    corpus: Corpus,
    seq_len: int,
    rng: np.random.Generator,
    most: int | None = None,
) -> Evaluation:
    """Score a network on the final split of its corpus.

    The memory depends on the number of predictions (at most `most`), not on the length of the split.

    Args:
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        corpus: Corpus with the final split, and the training split for the baselines.
        seq_len: Window of the stateless score, in characters.
        rng: Generator that draws the resamples of the confidence intervals.
        most: Largest number of predictions, from the beginning of the split; None for all.

    Returns:
        Scores, intervals, baselines, calibration and breakdowns.

    Raises:
        DivergenceError: A score is not finite.
        UserError: The stored baselines of the corpus are damaged.
    """
    split = corpus.split(corpus.final_split)
    tokens = split if most is None else split[: most + 1]
    with np.errstate(all="ignore"):  # an overflow ends in DivergenceError, whose message is clearer
        stateful = predict_stateful(architecture, params, tokens)
        stateless = predict_stateless(architecture, params, tokens, seq_len)
    for score in (stateful.score, stateless.score):
        if not all_finite(score.loss):
            raise DivergenceError(
                f"model: expected a network that stays finite on the {final_split(corpus)}, got a "
                f"loss of {score.loss:g} ({score.context}) over {score.characters:,} characters: "
                "train it with stateful=true, or with model.activation=tanh"
            )
    intervals = {p.score.context: block_bootstrap_ci(p.loss / log(2), rng) for p in (stateful, stateless)}
    baselines = cached_baselines(corpus, tokens)
    delta = stateful.loss / log(2) - best_ngram_losses(corpus, tokens, baselines)
    return Evaluation(
        split=corpus.final_split,
        n_total=split.size - 1,
        seq_len=seq_len,
        stateful=stateful.score,
        stateless=stateless.score,
        intervals=intervals,
        baselines=baselines,
        n_reference=reference_tokens(corpus).size,
        n_train=corpus.split("train").size,
        delta_vs_ngram=(float(delta.mean()), block_bootstrap_ci(delta, rng)),
        bins=error_analysis.reliability(stateful.confidence, stateful.hits),
        by_window=error_analysis.by_window_position(stateless, seq_len),
        by_character=error_analysis.by_character(stateful, tokens, corpus.vocabulary),
        by_word=error_analysis.by_word_position(stateful, tokens, corpus.vocabulary),
    )
