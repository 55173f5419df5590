"""The final scores of a network, both contexts and the baselines beside them, as numbers and as a table."""

from dataclasses import dataclass
from math import log

import numpy as np

from src.config import DataConfig, PlacesConfig
from src.errors import Diverged, InputError
from src.lab.baselines import baselines
from src.lab.corpora import corpus_of
from src.lab.lookup import Found
from src.lab.rollback import finite
from src.lab.rundir import absolute
from src.lab.scoring import Score, score_carried, score_reset
from src.rnn.parameters import Architecture, Array
from src.text.corpus import Corpus
from src.text.vocabulary import LARGEST


@dataclass(frozen=True)
class Evaluation:
    """split: `test`, or `val` for a corpus without a test split. available: predictions that there are in it;
    the scores say how many of them were read. baselines: bits per character."""

    split: str
    available: int
    seq_len: int
    carried: Score
    reset: Score
    baselines: dict[str, float]

    @property
    def prefix(self) -> str:
        """Of the metric names: `test`, or `val_final` (val/loss is the training's own curve)."""
        return "test" if self.split == "test" else "val_final"

    def metrics(self) -> dict[str, float]:
        """Under the names that are tracked: test/bpc (carried), test_reset/bpc, test/unigram_bpc."""
        named: dict[str, float] = {}
        for prefix, score in ((self.prefix, self.carried), (f"{self.prefix}_reset", self.reset)):
            named |= {
                f"{prefix}/loss": score.nats,
                f"{prefix}/bpc": score.bpc,
                f"{prefix}/perplexity": score.perplexity,
                f"{prefix}/accuracy": score.accuracy,
            }
        return named | {f"{self.prefix}/{name}_bpc": value for name, value in self.baselines.items()}

    def table(self) -> str:
        """For a terminal, a line a model."""
        where = "test split" if self.split == "test" else "validation split (this corpus has no test split)"
        read = f"{self.carried.characters:,}"
        if self.carried.characters < self.available:
            read = f"the first {read} of {self.available:,}"
        lines = [
            f"{read} characters of the {where}",
            f"{'':<34}{'nats':>8}{'bits':>8}{'perplexity':>12}{'accuracy':>10}",
        ]
        contexts = (
            ("network, state carried", self.carried),
            (f"network, reset every {self.seq_len}", self.reset),
        )
        for name, s in contexts:
            lines.append(f"{name:<34}{s.nats:>8.4f}{s.bpc:>8.4f}{s.perplexity:>12.3f}{s.accuracy:>10.1%}")
        for name, bits in self.baselines.items():
            label = name if name == "uniform" else f"{name}, add one"
            lines.append(f"{label:<34}{bits * log(2):>8.4f}{bits:>8.4f}{2**bits:>12.3f}")
        return "\n".join(lines)


def evaluate_network(
    architecture: Architecture, flat: Array, corpus: Corpus, seq_len: int, most: int | None = None
) -> Evaluation:
    """Score a network on the final split of its corpus. most: predictions to score at most, None for all.

    Raises Diverged for a score that is no number.
    """
    split = corpus.split(corpus.final_split)
    tokens = split if most is None else split[: most + 1]
    with np.errstate(all="ignore"):  # what overflows ends in Diverged, which says it better
        scores = score_carried(architecture, flat, tokens), score_reset(architecture, flat, tokens, seq_len)
    for score in scores:
        if not finite(score.nats):
            raise Diverged(
                f"model: expected a network that stays finite along the {corpus.final_split} split, got a "
                f"loss of {score.nats:g} (state {score.context}) over {score.characters:,} characters: "
                "train it with state=carry, or with model.activation=tanh"
            )
    return Evaluation(
        split=corpus.final_split,
        available=split.size - 1,
        seq_len=seq_len,
        carried=scores[0],
        reset=scores[1],
        baselines=baselines(corpus.split("train"), tokens, len(corpus.vocabulary)),
    )


def evaluate(found: Found, places: PlacesConfig) -> Evaluation:
    """Score a trained model on the final split of the corpus that it was trained on.

    Raises InputError when that corpus cannot be made again, or its characters are not the model's.
    """
    seq_len = found.config["seq_len"]
    # Runs of earlier versions had no limits.
    data = DataConfig(**{"max_vocabulary": LARGEST, **found.config["data"]})
    corpus, _ = corpus_of(data, seq_len, absolute(places.data_dir))
    if corpus.vocabulary != found.model.vocabulary:
        raise InputError(
            f"run: expected the corpus that run {found.run_id} was trained on, got a {corpus.name} with "
            "other characters: has the text changed?"
        )
    most = found.config.get("eval_chars")
    return evaluate_network(found.model.architecture, found.model.flat, corpus, seq_len, most)
