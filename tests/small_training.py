"""Training on a text of a few thousand characters, in this process: its config, its corpus, what it tells."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from src.config.schema import AdamConfig, Config, ConstantConfig, DataConfig, ModelConfig, TrackingConfig
from src.config.validation import check
from src.data.corpus import Corpus, bounds_of
from src.data.normalization import Normalisation
from src.data.vocabulary import Vocabulary
from src.rnn.parameters import Architecture, Array
from src.training.trainer import train

VERSE = "the sun is up and so am i, "
SPLIT = (0.8, 0.1, 0.1)
ADAM = AdamConfig("adam", weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8)
BASE = Config(
    output_dir="unused",
    data_dir="unused",
    tracking=TrackingConfig("none", None, "unused", None),
    hidden=16,
    seq_len=10,
    lr=0.02,
    clip=5.0,
    clip_mode="norm",
    patience=None,
    min_delta=0.0,
    eval_every=20,
    max_eval_chars=None,
    temperature=0.7,
    temperatures=[0.7],
    prompt="the ",
    length=20,
    seed=1,
    batch_size=16,
    max_epochs=3,
    max_seconds=None,
    ema_decay=0.0,
    workers=1,
    batching="contiguous",
    stateful=True,
    log_every=10,
    diagnostics=False,
    skip_finished=False,
    objectives=["val/loss"],
    prune=False,
    register=False,
    resume=None,
    init_from=None,
    on_divergence="stop",
    rollback_lr_factor=0.5,
    max_rollbacks=3,
    rerun=None,
    data=DataConfig("file", "unused", False, False, False, "utf-8", list(SPLIT), 1, 10000),
    model=ModelConfig("rnn", 1, 0.0, "orthogonal", "tanh"),
    optimizer=ADAM,
    schedule=ConstantConfig("constant", 0),
)


def corpus_of(text: str) -> Corpus:
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    bounds = bounds_of(tokens.size, SPLIT)
    plain = Normalisation(False, False, False)
    return Corpus(Path("unused"), "verse", "0" * 64, vocabulary, plain, tokens, bounds)


CORPUS = corpus_of(VERSE * 110)
NOISE = corpus_of("".join("abcdef"[k] for k in np.random.default_rng(0).integers(6, size=3000)))


class Trained:
    """One training, everything that it reported, and the weights at each evaluation."""

    def __init__(
        self,
        corpus: Corpus = CORPUS,
        callback: Callable[[Architecture, Array], None] | None = None,
        **changes: Any,
    ) -> None:
        self.config = replace(BASE, **changes)
        check(self.config)
        model, rng = self.config.model, np.random.default_rng(self.config.seed)
        self.architecture = Architecture(
            len(corpus.vocabulary), self.config.hidden, model.name, model.layers, model.activation
        )
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.seen: dict[int, Array] = {}
        self.callback = callback
        self.outcome = train(self.config, self.architecture, corpus, rng, self.report, self.evaluated)

    def report(self, step: int, metrics: dict[str, float]) -> None:
        self.metrics.append((step, metrics))

    def evaluated(self, step: int, flat: Array) -> None:
        self.seen[step] = flat.copy()
        if self.callback:
            self.callback(self.architecture, flat)

    def curve(self, name: str) -> dict[int, float]:
        return {step: metrics[name] for step, metrics in self.metrics if name in metrics}

    @property
    def last(self) -> Array:
        """The weights behind the last step."""
        return self.seen[self.outcome.steps]


def model_config(
    kind: tuple[str, str] = ("rnn", "tanh"), layers: int = 1, dropout: float = 0.0
) -> ModelConfig:
    return ModelConfig(kind[0], layers, dropout, "orthogonal", kind[1])
