"""Training on a text of a few thousand characters in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from src.common.callback import Callback
from src.config.schema import Config, ModelConfig
from src.data.corpus import Corpus, bounds_of
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.rnn.parameters import Array, RNNConfig
from src.training.callbacks import EarlyStopping
from src.training.trainer import Trainer
from tests.compose import composed

VERSE = "the sun is up and so am i, "
SPLIT = (0.8, 0.1, 0.1)


def target(name: str, **arguments: Any) -> dict[str, Any]:
    """Return the config of an optimizer or a schedule: `target("optimizers.SGD", weight_decay=0.0)`."""
    return {"_target_": f"src.rnn.{name}", **arguments}


ADAM = target("optimizers.Adam", weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8)
BASE: Config = composed(
    "config",
    *("tracking=none", "output_dir=unused", "data_dir=unused", "figures=false", "diagnostics=false"),
    *("data=file", "data.path=unused", "data.letters_only=false", "data.lowercase=false"),
    *("hidden=16", "model.init=orthogonal", "optimizer.weight_decay=0", "ema_decay=0", "schedule=constant"),
    *("batching=contiguous", "stateful=true", "batch_size=16", "seq_len=10", "workers=1"),
    *("max_epochs=3", "lr=0.02", "schedule.warmup_steps=0", "eval_every=20", "log_every=10"),
    *("patience=null", "min_delta=0", "max_eval_chars=null", "temperatures=[0.7]", "length=20"),
    "prompt='the '",
)


def corpus_of(text: str) -> Corpus:
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    bounds = bounds_of(tokens.size, SPLIT)
    plain = Normalization(False, False, False)
    return Corpus(Path("unused"), "verse", "0" * 64, vocabulary, plain, tokens, bounds)


CORPUS = corpus_of(VERSE * 110)
NOISE = corpus_of("".join("abcdef"[k] for k in np.random.default_rng(0).integers(6, size=3000)))


class Recorder(Callback):
    """Records all metrics, and the weights at each validation."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.seen: dict[int, Array] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Ignore files."""

    def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
        self.seen[trainer.step] = trainer.eval_params.copy()

    def curve(self, name: str) -> dict[int, float]:
        return {step: metrics[name] for step, metrics in self.metrics if name in metrics}


class Trained(Recorder):
    """One training run with its metrics, and the weights at each validation."""

    def __init__(
        self,
        corpus: Corpus = CORPUS,
        callback: Callable[[RNNConfig, Array], None] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__()
        self.config = attrs.evolve(BASE, **changes)
        self.callback = callback
        trainer = Trainer(self.config, corpus)
        self.architecture = trainer.architecture
        self.result = trainer.fit(self, [self, EarlyStopping(self.config.patience)])

    def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
        super().on_validation_end(trainer, val_loss)
        if self.callback:
            self.callback(trainer.architecture, trainer.eval_params)

    @property
    def last(self) -> Array:
        """The weights after the last step."""
        return self.seen[self.result.steps]


def model_config(
    kind: tuple[str, str] = ("rnn", "tanh"), layers: int = 1, dropout: float = 0.0
) -> ModelConfig:
    return ModelConfig(kind[0], layers, dropout, "orthogonal", kind[1])
