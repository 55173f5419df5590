"""A network in a few lines of Python, built from the objects that the commands use."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from src.cli.error_messages import format_config_error
from src.common.errors import UserError
from src.common.files import CONF
from src.common.process import single_blas_thread
from src.config.constraints import evolve
from src.config.resolvers import register_configs
from src.config.schema import NON_SEMANTIC_KEYS, Config
from src.data.corpus import corpus_of_text
from src.evaluation.scoring import Score, predict_stateful
from src.generation.sampling import sample
from src.models import serialization
from src.models.serialization import TrainedModel
from src.training.callbacks import EarlyStopping, NullLogger
from src.training.train_state import TrainResult
from src.training.trainer import Trainer

# No test split, because `score` gets its own text; one process, so that a script needs no `__main__` guard.
DEFAULTS = ("data=file", "data.path=null", "data.split=[0.9,0.1,0]", "tracking=none", "workers=1")
# Keys of a run on disk, and of the text, which `fit` gets.
EXCLUDED = {*NON_SEMANTIC_KEYS, "init_from", "diagnostics", "prune", "data", "data.path", "data.name"}


class CharRNN:
    """A character-level network: train it on a string, score it on another, sample text from it.

    Args:
        **keys: Keys of the network and of its training, which `python -m src.train --help=all` explains. In a
            key with a dot, write two underscores: `model="lstm", model__layers=2`.

    Attributes:
        config: Validated config.
        result: How the training ended; None before `fit`.

    Raises:
        UserError: A key is unknown or has an invalid value.

    Examples:
        >>> text = "so long lives this and this gives life to thee. " * 20
        >>> net = CharRNN(hidden=32, seq_len=10, max_epochs=20, schedule__warmup_steps=0).fit(text)
        >>> net.score("so long lives this").bpc < 1
        True
        >>> net.sample("so long ", length=10, temperature=0)
        'lives this'
    """

    def __init__(self, **keys: Any) -> None:
        names = {key.replace("__", "."): value for key, value in keys.items()}
        if excluded := EXCLUDED & names.keys():
            name = min(excluded)
            raise UserError(f"{name}: expected a key of the network or of its training, got {name}")
        self.config = compose(*(f"{name}={json.dumps(value)}" for name, value in names.items()))
        self.result: TrainResult | None = None
        self._model: TrainedModel | None = None

    @property
    def model(self) -> TrainedModel:
        """The trained network with its vocabulary, for the functions of the other packages.

        Raises:
            UserError: The network is not trained.
        """
        if self._model is None:
            raise UserError("model: expected a trained network, got an untrained one: call fit or load first")
        return self._model

    def fit(self, text: str) -> Self:
        """Train a new network on a text, whose last tenth is the validation split; Ctrl-C ends it early.

        Args:
            text: The text, prepared as with `data=file`.

        Returns:
            This object, with the weights of the lowest validation loss.

        Raises:
            UserError: The text is too short, or the training diverged.
        """
        corpus = corpus_of_text(text, self.config.data, self.config.seq_len)
        trainer = Trainer(self.config, corpus)
        with single_blas_thread():
            self.result = trainer.fit(NullLogger(), [EarlyStopping(self.config.patience)])
        self._model = trainer.model(self.result.params.copy())
        return self

    def score(self, text: str) -> Score:
        """Predict every character of a text except the first, from a zero state.

        Args:
            text: At least 2 characters, all of them in the text of the training.

        Returns:
            The mean score, with `loss` (nats), `bpc`, `perplexity` and `accuracy`.

        Raises:
            UserError: The text is too short or has another character, or the network is not trained.
        """
        model = self.model
        tokens = model.vocabulary.encode(model.normalization.apply(text), "text")
        if tokens.size < 2:
            raise UserError(f"text: expected at least 2 characters, got {tokens.size}")
        return predict_stateful(model.architecture, model.params, tokens).score

    def sample(
        self,
        prompt: str | None = None,
        length: int | None = None,
        temperature: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> str:
        """Generate text after a prompt, without repeating the prompt.

        Args:
            prompt: Text that the network reads first; None (the default): the key `prompt`, or the
                beginning of the validation split. With "", the first character is random.
            length: Number of characters; None (the default): the key `length`.
            temperature: Divisor of the logits, >= 0; None (the default): the key `temperature`.
            rng: Generator of the random numbers; None (the default): a new one with the key `seed`.

        Returns:
            The new characters.

        Raises:
            UserError: A value is invalid, the prompt has an unknown character, or the network is not trained.
        """
        given = {"length": length, "temperature": temperature}
        config = evolve(self.config, {key: value for key, value in given.items() if value is not None})
        rng = rng or np.random.default_rng(config.seed)
        prompt = self.model.prompt if prompt is None else prompt
        return "".join(sample(self.model, prompt, config.temperature, config.length, rng))

    def save(self, folder: str | Path) -> None:
        """Write the trained network, in the files of the folder `model/` of a run.

        Args:
            folder: Directory; it is made if it does not exist.

        Raises:
            UserError: The network is not trained, or a file cannot be written.
        """
        serialization.save(self.model, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a network that `save` or a run wrote.

        Args:
            folder: Directory of the two files: that of `save`, or `model/` in a run directory.

        Returns:
            The trained network.

        Raises:
            UserError: A file is missing or damaged.
        """
        model = serialization.load(Path(folder))
        a = model.architecture
        network = {"model__name": a.cell, "model__layers": a.layers, "model__activation": a.activation}
        found = cls(hidden=a.hidden, **network)
        found._model = model
        return found


def compose(*overrides: str) -> Config:
    """Compose the config of a network outside a run.

    Args:
        *overrides: Overrides as on the command line.

    Returns:
        The validated config.

    Raises:
        UserError: A key is unknown or has an invalid value.
    """
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register_configs()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config: Any = OmegaConf.to_object(compose_config("config", [*DEFAULTS, *overrides]))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(format_config_error(error, "config")) from error
    assert isinstance(config, Config)
    return config
