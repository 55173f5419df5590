"""Typed configuration: the type and the constraint of every key, as attrs classes.

`conf/` has the defaults, with the reason for each. An object of these classes is valid: each is validated
when it is made, and immutable from then on (`src.config.constraints.evolve` returns a changed copy).
"""

from typing import Any, ClassVar

import attrs
from attrs import define
from attrs.setters import frozen  # attrs.frozen would make OmegaConf refuse the overrides of the command line
from omegaconf import MISSING

from src.common.errors import UserError
from src.common.files import absolute
from src.config.constraints import (
    Constraint,
    bool_field,
    build,
    choice_field,
    constrained,
    float_field,
    int_field,
    invalid_value_error,
    iter_leaves,
    str_field,
    target_field,
)
from src.rnn.cells import CELLS, get_cell

EXPERIMENTS = (  # folders of experiments/
    "sonnets", "clipping", "state", "temperature", "context", "cells", "tinyshakespeare", "karpathy2015",
)  # fmt: skip
SUB_EXPERIMENTS = ("karpathy2015_64", "karpathy2015_128", "karpathy2015_256")  # parts of karpathy2015
# Keys and groups that do not affect the result of a run: where it is made, and what is done with it.
NON_SEMANTIC_KEYS = (
    "output_dir", "data_dir", "tracking", "skip_finished", "objectives", "register", "resume", "rerun",
    "figures",
)  # fmt: skip
# Metrics that a search can optimize (Config.objectives), with their directions.
OBJECTIVES = {"val/loss": "minimize", "throughput/chars_per_second": "maximize"}

CELL_NAMES = tuple(dict.fromkeys(name for name, _ in CELLS))
SPLIT = "three shares (train, val, test) that add up to 1, the first two above 0"


def is_split(shares: list[float]) -> bool:
    """Test the shares of a split: early stopping needs a validation split."""
    fractions = len(shares) == 3 and all(0 <= share <= 1 for share in shares)
    return fractions and abs(sum(shares) - 1) < 1e-9 and shares[0] > 0 and shares[1] > 0


def absolute_path(path: str | None) -> str | None:
    """Return the absolute path of a text, so that a run finds it from every directory."""
    return path if path in (None, MISSING) else str(absolute(path))


@define(on_setattr=frozen)
class DataConfig:
    """Keys of the group data."""

    group: ClassVar = "data"
    name: str = choice_field("smallshake", "shakespeare", "tinyshakespeare", "warandpeace", "file")
    path: str | None = attrs.field(
        default=MISSING,
        converter=absolute_path,
        validator=Constraint("a text", none_means="the corpus's own source"),
    )
    lowercase: bool = bool_field()
    letters_only: bool = bool_field()
    collapse_spaces: bool = bool_field()
    encoding: str = str_field()
    split: list[float] = constrained(SPLIT, predicate=is_split)
    stride: int = int_field(ge=1)
    max_vocabulary: int = int_field(ge=2, le=65536)


@define(on_setattr=frozen)
class ModelConfig:
    """Keys of the group model."""

    group: ClassVar = "model"
    name: str = str_field()
    layers: int = int_field(ge=1)
    dropout: float = float_field(ge=0, lt=1)
    init: str = choice_field("uniform", "orthogonal", "identity")
    activation: str = choice_field("tanh", "relu")

    def __attrs_post_init__(self) -> None:
        """Refuse an unknown cell, an option of another cell, and dropout without a second layer."""
        if self.name not in CELL_NAMES:
            try:
                get_cell(self.name)
            except ValueError as error:
                expected = f"one of {', '.join(CELL_NAMES)}, or the dotted path of a src.rnn.cells.Cell"
                got = f"{self.name} ({error.__cause__})" if error.__cause__ else self.name
                raise invalid_value_error("model.name", expected, got) from error
        if self.name != "rnn" and self.activation != "tanh":
            expected = f"tanh, the only activation of model={self.name}"
            raise invalid_value_error("model.activation", expected, self.activation)
        if self.name != "rnn" and self.init == "identity":
            expected = f"uniform or orthogonal with model={self.name}"
            raise invalid_value_error("model.init", expected, self.init)
        if self.dropout and self.layers == 1:
            expected = "0 with model.layers=1 (dropout is applied between layers)"
            raise invalid_value_error("model.dropout", expected, self.dropout)


@define(on_setattr=frozen)
class TrackingConfig:
    """Keys of the group tracking."""

    group: ClassVar = "tracking"
    name: str = choice_field("mlflow", "none")
    uri: str | None = str_field(none_means="the project's own database")
    experiment: str = str_field()
    run_name: str | None = str_field(none_means="a name made from the config")

    @property
    def enabled(self) -> bool:
        """True if runs are uploaded to an MLflow store; otherwise they are only directories."""
        return self.name != "none"


@define(on_setattr=frozen)
class PathsConfig:
    """Keys of every command: where it reads and writes, and where it tracks."""

    output_dir: str = str_field()
    data_dir: str = str_field()
    tracking: TrackingConfig = MISSING


@define(on_setattr=frozen)
class Config(PathsConfig):
    """Keys of preprocess, train and pipeline."""

    hidden: int = int_field(ge=1)
    seq_len: int = int_field(ge=1)
    lr: float = float_field(gt=0)
    clip: float | None = float_field(gt=0, none_means="no clipping")
    clip_mode: str = choice_field("norm", "value")
    patience: int | None = int_field(ge=1, none_means="no early stopping")
    min_delta: float = float_field(ge=0)
    eval_every: int = int_field(ge=1)
    max_eval_chars: int | None = int_field(ge=1, none_means="no limit")
    temperature: float = float_field(ge=0)
    temperatures: list[float] = constrained("numbers", ge=0, is_list=True)
    prompt: str = str_field()
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)
    batch_size: int = int_field(ge=1)
    max_epochs: float = float_field(gt=0, le=1e6)
    max_seconds: float | None = float_field(gt=0, none_means="no limit")
    ema_decay: float = float_field(ge=0, lt=1)
    workers: int = int_field(ge=1)
    batching: str = choice_field("shuffled", "contiguous")
    stateful: bool = bool_field()
    log_every: int = int_field(ge=1)
    diagnostics: bool = bool_field()
    figures: bool = bool_field()
    skip_finished: bool = bool_field()
    objectives: list[str] = constrained("a text", choices=tuple(OBJECTIVES), is_list=True)
    prune: bool = bool_field()
    register: bool = bool_field()
    resume: str | None = str_field(none_means="a new run")
    init_from: str | None = str_field(none_means="random initial weights")
    on_divergence: str = choice_field("stop", "rollback")
    rollback_lr_factor: float = float_field(gt=0, lt=1)
    max_rollbacks: int = int_field(ge=1)
    rerun: str | None = str_field(none_means="a run of the given config")
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    optimizer: dict[str, Any] = target_field()
    schedule: dict[str, Any] = target_field()

    def __attrs_post_init__(self) -> None:
        """Refuse combinations of keys."""
        validate_register(self.register, self.tracking)

    @classmethod
    def from_dict(cls, logged: Any, source: str) -> "Config":
        """Return the typed config of a logged one.

        Args:
            logged: Content of a config.json.
            source: What the error line begins with: the key and the file that it comes from.

        Raises:
            UserError: A key is unknown or missing, or a value has another type or is out of range.
        """
        try:
            config: Config = build(cls, logged)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        return config


def validate_register(register: bool, tracking: TrackingConfig) -> None:
    """Raise UserError for a model that is to be registered without a registry."""
    if register and not tracking.enabled:
        raise invalid_value_error("register", "false with tracking=none (there is no registry)", "true")


@define(on_setattr=frozen)
class EvaluateConfig(PathsConfig):
    """Keys of evaluate."""

    run: str = str_field()
    temperatures: list[float] = constrained("numbers", ge=0, is_list=True)
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)


@define(on_setattr=frozen)
class SampleConfig(PathsConfig):
    """Keys of sample."""

    run: str = str_field()
    prompt: str = str_field()
    temperature: float = float_field(ge=0)
    top_k: int | None = int_field(ge=1, none_means="all")
    top_p: float | None = float_field(gt=0, le=1, none_means="all")
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)
    num_samples: int = int_field(ge=1)


@define(on_setattr=frozen)
class UiConfig(PathsConfig):
    """Keys of ui."""

    host: str = str_field()
    port: int = int_field(ge=1, le=65535)


@define(on_setattr=frozen)
class ServerConfig(PathsConfig):
    """Keys of server."""

    host: str = str_field()
    port: int = int_field(ge=1, le=65535)
    backend_store_uri: str | None = str_field(none_means="an SQLite file under outputs/")
    allowed_hosts: str | None = str_field(none_means="the loopback and private addresses")


@define(on_setattr=frozen)
class PlayConfig(UiConfig):
    """Keys of play."""

    left: str = str_field()
    right: str = str_field()
    prompt: str = str_field()
    temperature: float = float_field(ge=0)
    top_k: int | None = int_field(ge=1, none_means="all")
    top_p: float | None = float_field(gt=0, le=1, none_means="all")
    length: int = int_field(ge=0, le=100_000)
    seed: int = int_field(ge=0)


@define(on_setattr=frozen)
class ReproduceConfig(PathsConfig):
    """Keys of reproduce."""

    preset: str = choice_field("quick", "full")
    experiments: list[str] | None = constrained(
        "a text", choices=EXPERIMENTS + SUB_EXPERIMENTS, is_list=True, none_means="all of the preset"
    )
    warandpeace: str | None = str_field(none_means="skipping karpathy2015")
    tinyshakespeare: str | None = str_field(none_means="a download")


def flatten(config: Any) -> dict[str, Any]:
    """Return the logged parameters: dotted keys to values, the choice of a group under the name of the group.

    Left out is what does not affect the result: NON_SEMANTIC_KEYS, and the path of the text, whose content is
    part of the digest.
    """
    flat = {key.removesuffix(".name"): value for key, _, value in iter_leaves(config)}
    return {
        key: value
        for key, value in flat.items()
        if key.partition(".")[0] not in NON_SEMANTIC_KEYS and key != "data.path"
    }


# The typed schema below each command's file in conf/.
COMMANDS = {
    "config": Config,
    "evaluate": EvaluateConfig,
    "sample": SampleConfig,
    "ui": UiConfig,
    "server": ServerConfig,
    "play": PlayConfig,
    "reproduce": ReproduceConfig,
}
