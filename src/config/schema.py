"""Typed configuration: the type and the constraint of every key, as attrs classes.

The comments in conf/ explain each key and give the reason for its default. An object of these classes is
valid: it is validated when it is created, and is immutable afterwards (`src.config.constraints.evolve`
returns a changed copy).
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import attrs
from attrs import define
from attrs.setters import frozen  # attrs.frozen would make OmegaConf reject the overrides of the command line
from omegaconf import MISSING

from src.common.errors import UserError
from src.common.files import absolute
from src.config.constraints import (
    Constraint,
    bool_field,
    build,
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
    """Test the shares of a split; the validation share must not be 0, because early stopping needs it.

    Args:
        shares: Shares of the training, validation and test split.

    Returns:
        True for three shares from 0 to 1 that add up to 1, the first two above 0.
    """
    fractions = len(shares) == 3 and all(0 <= share <= 1 for share in shares)
    return fractions and abs(sum(shares) - 1) < 1e-9 and shares[0] > 0 and shares[1] > 0


def is_experiment_name(name: Any) -> bool:
    """Test the name of an experiment, which MLflow would refuse only when it uploads a run.

    Args:
        name: Value of the key.

    Returns:
        True for a text of 1 to 500 characters that are not all white space.
    """
    return isinstance(name, str) and bool(name.strip()) and len(name) <= 500


def absolute_path(path: Any) -> Any:
    """Return the absolute path of a text, so that a run finds it from every directory.

    Args:
        path: Path or list of paths as typed; any other value, an empty text and MISSING are returned
            unchanged.

    Returns:
        The absolute path, or a list of them.
    """
    if isinstance(path, list):
        return [absolute_path(each) for each in path]
    return str(absolute(path)) if isinstance(path, str) and path not in ("", MISSING) else path


def is_path(path: Any) -> bool:
    """Test the path of a text.

    Args:
        path: Value of the key.

    Returns:
        True for a text, or for a list of texts; none of them is empty.
    """
    paths = path if isinstance(path, list) else [path]
    return bool(paths) and all(isinstance(each, str) and each for each in paths)


CORPORA = ("smallshake", "shakespeare", "tinyshakespeare", "warandpeace", "file")


@define(on_setattr=frozen)
class DataConfig:
    """Keys of the group `data`, explained in conf/data/: a corpus and how its text is prepared."""

    group: ClassVar = "data"
    name: str = str_field(choices=CORPORA)
    path: Any = attrs.field(  # a text, or a list of texts, which OmegaConf cannot declare
        default=MISSING,
        converter=absolute_path,
        validator=Constraint(
            "a file, a folder, a pattern such as texts/*.txt, or a list of them in brackets",
            predicate=is_path,
            none_means="the corpus's own source",
        ),
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
    """Keys of the group `model`, explained in conf/model/: the network without its width, which is `hidden`.

    Raises:
        UserError: The cell is unknown, an option belongs to another cell, or there is dropout with one layer.
    """

    group: ClassVar = "model"
    name: str = str_field()
    layers: int = int_field(ge=1)
    dropout: float = float_field(ge=0, lt=1)
    init: str = str_field(choices=("uniform", "orthogonal", "identity"))
    activation: str = str_field(choices=("tanh", "relu"))

    def __attrs_post_init__(self) -> None:
        """Reject a value that another key excludes."""  # noqa: DOC501 (described by the class)
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
    """Keys of the group `tracking`, explained in conf/tracking/: where runs are tracked."""

    group: ClassVar = "tracking"
    name: str = str_field(choices=("mlflow", "none"))
    uri: str | None = str_field(none_means="the project's own database")
    experiment: str = constrained("a text of 1 to 500 characters", predicate=is_experiment_name)
    run_name: str | None = str_field(none_means="a name made from the config")

    @property
    def enabled(self) -> bool:
        """True if runs are uploaded to an MLflow store; otherwise they are only directories."""
        return self.name != "none"


@define(on_setattr=frozen)
class PathsConfig:
    """Keys of every command, explained in conf/common.yaml: where it reads, writes and tracks."""

    output_dir: str = str_field()
    data_dir: str = str_field()
    tracking: TrackingConfig = MISSING


@define(on_setattr=frozen)
class Config(PathsConfig):
    """Keys of the commands `preprocess`, `train` and `pipeline`, explained in conf/config.yaml.

    Attributes:
        data: Keys of the group `data`.
        model: Keys of the group `model`.
        optimizer: `_target_`, the class of the optimizer, and its arguments.
        schedule: `_target_`, the class of the learning-rate schedule, and its arguments.

    Raises:
        UserError: A value is out of range, or two keys exclude each other.
    """

    hidden: int = int_field(ge=1)
    seq_len: int = int_field(ge=1)
    lr: float = float_field(gt=0)
    clip: float | None = float_field(gt=0, none_means="no clipping")
    clip_mode: str = str_field(choices=("norm", "value"))
    patience: int | None = int_field(ge=1, none_means="no early stopping")
    min_delta: float = float_field(ge=0)
    eval_every: int = int_field(ge=1)
    max_eval_chars: int | None = int_field(ge=1, none_means="no limit")
    temperature: float = float_field(ge=0)
    temperatures: list[float] = constrained("numbers", ge=0, is_list=True)
    prompt: str | None = str_field(none_means="the beginning of the validation split")
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)
    batch_size: int = int_field(ge=1)
    max_epochs: float = float_field(gt=0, le=1e6)
    max_seconds: float | None = float_field(gt=0, none_means="no limit")
    ema_decay: float = float_field(ge=0, lt=1)
    workers: int = int_field(ge=1)
    batching: str = str_field(choices=("shuffled", "contiguous"))
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
    on_divergence: str = str_field(choices=("stop", "rollback"))
    rollback_lr_factor: float = float_field(gt=0, lt=1)
    max_rollbacks: int = int_field(ge=1)
    rerun: str | None = str_field(none_means="a run of the given config")
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    optimizer: dict[str, Any] = target_field()
    schedule: dict[str, Any] = target_field()

    def __attrs_post_init__(self) -> None:
        """Reject combinations of keys that exclude each other."""
        validate_register(self.register, self.tracking)

    @classmethod
    def from_dict(cls, logged: Any, source: str) -> "Config":
        """Build the typed config of a logged run.

        Args:
            logged: Content of a config.json.
            source: Beginning of the error line: the key and the file that `logged` comes from.

        Returns:
            The validated config.

        Raises:
            UserError: A key is unknown or missing, or a value has another type or is out of range.
        """
        try:
            config: Config = build(cls, logged)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        return config


def validate_register(register: bool, tracking: TrackingConfig) -> None:
    """Check that there is a registry for a model that is to be registered.

    Args:
        register: Value of the key `register`.
        tracking: Keys of the group `tracking`.

    Raises:
        UserError: `register` is true and tracking is off.
    """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
    if register and not tracking.enabled:
        raise invalid_value_error("register", "false with tracking=none (there is no registry)", "true")


@define(on_setattr=frozen)
class EvaluateConfig(PathsConfig):
    """Keys of the command `evaluate`, explained in conf/evaluate.yaml."""

    run: str = str_field()
    temperatures: list[float] = constrained("numbers", ge=0, is_list=True)
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)


@define(on_setattr=frozen)
class SampleConfig(PathsConfig):
    """Keys of the command `sample`, explained in conf/sample.yaml."""

    run: str = str_field()
    prompt: str | None = str_field(none_means="that of the run")
    temperature: float = float_field(ge=0)
    top_k: int | None = int_field(ge=1, none_means="all")
    top_p: float | None = float_field(gt=0, le=1, none_means="all")
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)
    num_samples: int = int_field(ge=1)


@define(on_setattr=frozen)
class ExportConfig(PathsConfig):
    """Keys of the command `export`, explained in conf/export.yaml."""

    run: str = str_field()
    format: str = str_field(choices=("torch",))
    path: str | None = str_field(none_means="a file in output_dir")


@define(on_setattr=frozen)
class UiConfig(PathsConfig):
    """Keys of the command `ui`, explained in conf/ui.yaml."""

    host: str = str_field()
    port: int = int_field(ge=1, le=65535)


@define(on_setattr=frozen)
class ServerConfig(UiConfig):
    """Keys of the command `server`, explained in conf/server.yaml."""

    backend_store_uri: str | None = str_field(none_means="an SQLite file under outputs/")
    allowed_hosts: str | None = str_field(none_means="the loopback and private addresses")


@define(on_setattr=frozen)
class PlayConfig(UiConfig):
    """Keys of the command `play`, explained in conf/play.yaml."""

    left: str = str_field()
    right: str = str_field()
    prompt: str | None = str_field(none_means="that of the run")
    temperature: float = float_field(ge=0)
    top_k: int | None = int_field(ge=1, none_means="all")
    top_p: float | None = float_field(gt=0, le=1, none_means="all")
    length: int = int_field(ge=0, le=100_000)
    seed: int = int_field(ge=0)


@define(on_setattr=frozen)
class ReproduceConfig(PathsConfig):
    """Keys of the command `reproduce`, explained in conf/reproduce.yaml."""

    preset: str = str_field(choices=("quick", "full"))
    experiments: list[str] | None = constrained(
        "a text", choices=EXPERIMENTS + SUB_EXPERIMENTS, is_list=True, none_means="all of the preset"
    )
    warandpeace: str | None = str_field(none_means="skipping karpathy2015")
    tinyshakespeare: str | None = str_field(none_means="a download")


def flatten(config: Any) -> dict[str, Any]:
    """Flatten a config to the parameters that are logged, without the keys that do not affect the result.

    Args:
        config: An object of a class of the schema.

    Returns:
        Value by dotted key. The choice of a group has the name of the group as its key.
    """
    # The path of the text is left out, because its content is part of the digest of the corpus.
    flat = {key.removesuffix(".name"): value for key, _, value in iter_leaves(config) if key != "data.path"}
    return {key: value for key, value in flat.items() if key.partition(".")[0] not in NON_SEMANTIC_KEYS}


def semantic_overrides(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that affect the result of the run.

    Args:
        overrides: The overrides as typed.

    Returns:
        Those of other keys than NON_SEMANTIC_KEYS; `resume` and `rerun` count, because they use another run's
        config.
    """
    irrelevant = {*NON_SEMANTIC_KEYS} - {"resume", "rerun"}  # those two use another run's config
    return [o for o in overrides if o.split("=")[0].split(".")[0] not in irrelevant]


# The typed schema below each command's file in conf/.
COMMANDS = {
    "config": Config,
    "evaluate": EvaluateConfig,
    "sample": SampleConfig,
    "export": ExportConfig,
    "ui": UiConfig,
    "server": ServerConfig,
    "play": PlayConfig,
    "reproduce": ReproduceConfig,
}
