"""Typed configuration: the type and the constraint of every key, as attrs classes.

conf/ has the defaults, with the reason for each. An object of these classes is valid: it is validated when it
is created, and is immutable afterwards (`src.config.constraints.evolve` returns a changed copy).
"""

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
    """Test the shares of a split; the validation share must not be 0, because early stopping needs it.

    Args:
        shares: Shares of the training, validation and test split.

    Returns:
        True for three shares from 0 to 1 that add up to 1, the first two above 0.
    """
    fractions = len(shares) == 3 and all(0 <= share <= 1 for share in shares)
    return fractions and abs(sum(shares) - 1) < 1e-9 and shares[0] > 0 and shares[1] > 0


def absolute_path(path: str | None) -> str | None:
    """Return the absolute path of a text, so that a run finds it from every directory.

    Args:
        path: Path as typed; None and MISSING are returned unchanged.

    Returns:
        The absolute path.
    """
    return path if path in (None, MISSING) else str(absolute(path))


@define(on_setattr=frozen)
class DataConfig:
    """Keys of the group `data`: a corpus and how its text is prepared.

    Attributes:
        group: Name of the group in conf/, the prefix of the dotted keys.
        name: Name of the corpus; `file` for a user's own text.
        path: File to read, as an absolute path; None for the corpus's own source.
        lowercase: Whether every letter is mapped to lower case.
        letters_only: Whether every character that is not a letter is replaced with a space.
        collapse_spaces: Whether several spaces in a row are replaced with one.
        encoding: Character encoding of the text; `bytes` makes each byte one symbol.
        split: Shares of the training, validation and test split, which add up to 1.
        stride: Characters between the starts of two neighboring training windows, >= 1.
        max_vocabulary: Largest number of distinct characters, 2 to 65,536 (token ids have at most 16 bits).
    """

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
    """Keys of the group `model`: the network without its width, which is `hidden`.

    Attributes:
        group: Name of the group in conf/, the prefix of the dotted keys.
        name: Name of the cell (`rnn`, `gru`, `lstm`), or the dotted path of a user's own cell.
        layers: Number of stacked layers, >= 1.
        dropout: Share of units dropped between layers in each training step, 0 to below 1.
        init: Initialization of the recurrent matrix `wh`; `identity` only for the vanilla RNN.
        activation: Activation function of the vanilla RNN; `tanh` for other cells.

    Raises:
        UserError: The cell is unknown, an option belongs to another cell, or there is dropout with one layer.
    """

    group: ClassVar = "model"
    name: str = str_field()
    layers: int = int_field(ge=1)
    dropout: float = float_field(ge=0, lt=1)
    init: str = choice_field("uniform", "orthogonal", "identity")
    activation: str = choice_field("tanh", "relu")

    def __attrs_post_init__(self) -> None:
        """Reject an unknown cell, an option of another cell, and dropout without a second layer.

        Raises:
            UserError: In these cases, with the key in the message.
        """  # noqa: DOC501 (`invalid_value_error` returns a UserError)
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
    """Keys of the group `tracking`: where runs are tracked.

    Attributes:
        group: Name of the group in conf/, the prefix of the dotted keys.
        name: `mlflow`, or `none` for run directories only.
        uri: Address of the MLflow store; None for MLFLOW_TRACKING_URI, otherwise the project's own database.
        experiment: Name of the MLflow experiment of the runs.
        run_name: Name of the run; None for a name made from the config.
    """

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
    """Keys of every command: where it reads and writes, and where it tracks.

    Attributes:
        output_dir: Folder for everything that a command writes: runs, the MLflow database, artifacts.
        data_dir: Folder for prepared corpora.
        tracking: Keys of the group `tracking`.
    """

    output_dir: str = str_field()
    data_dir: str = str_field()
    tracking: TrackingConfig = MISSING


@define(on_setattr=frozen)
class Config(PathsConfig):
    """Keys of the commands `preprocess`, `train` and `pipeline`.

    The comments in conf/config.yaml give each default with its reason.

    Attributes:
        hidden: Number of hidden units of each layer, >= 1.
        seq_len: Window length in characters, >= 1.
        lr: Peak learning rate, > 0.
        clip: Clipping threshold of the gradient, > 0; None for no clipping.
        clip_mode: `norm` limits the global norm of the gradient, `value` limits each element.
        patience: Number of validations in a row without a better val/loss before training stops; None for no
            early stopping.
        min_delta: Smallest decrease of val/loss that counts as better, in nats per character.
        eval_every: Optimizer steps between two validations.
        max_eval_chars: Largest number of characters in an evaluation; None for no limit.
        temperature: Sampling temperature, >= 0; 0 always takes the most likely character.
        temperatures: Temperatures of the additional samples at the end of a run.
        prompt: Text that the network reads before each sample.
        length: Number of characters of a sample, >= 0.
        seed: Random seed of the initial weights, the order of the windows, dropout and sampling.
        batch_size: Number of windows in one optimizer step.
        max_epochs: Largest number of passes over the training windows; fractions are allowed.
        max_seconds: Limit on the training time in seconds, evaluations included; None for no limit.
        ema_decay: Decay factor per step of the moving average of the weights, 0 to below 1; 0 for no
            averaging.
        workers: Number of processes that share each batch, with one BLAS thread each.
        batching: `shuffled` for windows in random order, `contiguous` for parallel streams read in order.
        stateful: Whether a batch starts with the final state of the previous batch; otherwise with zeros.
        log_every: Optimizer steps between two points of the training curves.
        diagnostics: Whether gradient flow, saturation and update size are measured at each validation.
        figures: Whether figures are drawn at the end of the run.
        skip_finished: Whether a job of a sweep is skipped, or resumed, where a run with the same config, data
            and code exists.
        objectives: Metrics that a search optimizes, names of OBJECTIVES.
        prune: Whether a job that is worse than the median of the finished jobs is stopped early.
        register: Whether the trained model is registered in MLflow as the champion.
        resume: The run to resume; None for a new run.
        init_from: The run whose weights training starts from; None for random initial weights.
        on_divergence: `stop` ends a diverged run as FAILED, `rollback` restores the last good weights.
        rollback_lr_factor: Factor on the learning rate at each rollback, above 0 and below 1.
        max_rollbacks: Largest number of rollbacks of a run.
        rerun: The run to train again from its logged config; None for a run of the given config.
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
    """Keys of the command `evaluate`.

    Attributes:
        run: Model to load: `latest`, `best`, `champion` or another alias, or a run id.
        temperatures: Temperatures of the generated texts, >= 0.
        length: Number of characters of each generated text; 0 generates none.
        seed: Random seed of the generated texts.
    """

    run: str = str_field()
    temperatures: list[float] = constrained("numbers", ge=0, is_list=True)
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)


@define(on_setattr=frozen)
class SampleConfig(PathsConfig):
    """Keys of the command `sample`.

    Attributes:
        run: Model to load: `latest`, `best`, `champion` or another alias, or a run id.
        prompt: Text that the network reads before it generates the sample.
        temperature: Sampling temperature, >= 0; 0 always takes the most likely character.
        top_k: Number of most likely characters to sample from; None for all.
        top_p: Share of probability of the most likely characters to sample from, above 0 to 1 (the nucleus of
            Holtzman et al. 2020); None for all.
        length: Number of characters to generate.
        seed: Random seed of the sampling.
        num_samples: Number of texts, all from the same prompt.
    """

    run: str = str_field()
    prompt: str = str_field()
    temperature: float = float_field(ge=0)
    top_k: int | None = int_field(ge=1, none_means="all")
    top_p: float | None = float_field(gt=0, le=1, none_means="all")
    length: int = int_field(ge=0)
    seed: int = int_field(ge=0)
    num_samples: int = int_field(ge=1)


@define(on_setattr=frozen)
class ExportConfig(PathsConfig):
    """Keys of the command `export`.

    Attributes:
        run: Model to load: `latest`, `best`, `champion` or another alias, or a run id.
        format: Format of the file: `torch`, a state dict for PyTorch.
        path: File to write; None for exports/RUN_ID.safetensors in output_dir.
    """

    run: str = str_field()
    format: str = choice_field("torch")
    path: str | None = str_field(none_means="a file in output_dir")


@define(on_setattr=frozen)
class UiConfig(PathsConfig):
    """Keys of the command `ui`.

    Attributes:
        host: Network interface to bind.
        port: TCP port of the UI.
    """

    host: str = str_field()
    port: int = int_field(ge=1, le=65535)


@define(on_setattr=frozen)
class ServerConfig(PathsConfig):
    """Keys of the command `server`.

    Attributes:
        host: Network interface to bind.
        port: TCP port of the server.
        backend_store_uri: URL of the server's database; None for an SQLite file under outputs/.
        allowed_hosts: Host names that the server accepts, separated by commas; None for the loopback and
            private addresses.
    """

    host: str = str_field()
    port: int = int_field(ge=1, le=65535)
    backend_store_uri: str | None = str_field(none_means="an SQLite file under outputs/")
    allowed_hosts: str | None = str_field(none_means="the loopback and private addresses")


@define(on_setattr=frozen)
class PlayConfig(UiConfig):
    """Keys of the command `play`.

    Attributes:
        left: Run on the left when the page opens: `best`, `latest`, an alias or a run id.
        right: Run on the right; the same values as `left`.
        prompt: Text that the networks read before they generate.
        temperature: Sampling temperature, >= 0.
        top_k: Number of most likely characters to sample from; None for all.
        top_p: Share of probability of the most likely characters to sample from, above 0 to 1; None for all.
        length: Number of characters to generate, at most 100,000.
        seed: Random seed of the sampling.
    """

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
    """Keys of the command `reproduce`.

    Attributes:
        preset: `quick` for four experiments in minutes, `full` for all of them in hours.
        experiments: Names of experiments, or of parts of them; None for all of the preset.
        warandpeace: Path of a copy of War and Peace; None skips the experiment karpathy2015.
        tinyshakespeare: Path of a copy of tiny Shakespeare; None for a download.
    """

    preset: str = choice_field("quick", "full")
    experiments: list[str] | None = constrained(
        "a text", choices=EXPERIMENTS + SUB_EXPERIMENTS, is_list=True, none_means="all of the preset"
    )
    warandpeace: str | None = str_field(none_means="skipping karpathy2015")
    tinyshakespeare: str | None = str_field(none_means="a download")


def flatten(config: Any) -> dict[str, Any]:
    """Flatten a config to the parameters that are logged.

    Keys that do not affect the result are left out: NON_SEMANTIC_KEYS, and the path of the text, whose
    content is part of the corpus digest.

    Args:
        config: An object of a class of the schema.

    Returns:
        Value by dotted key. The choice of a group has the name of the group as its key.
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
    "export": ExportConfig,
    "ui": UiConfig,
    "server": ServerConfig,
    "play": PlayConfig,
    "reproduce": ReproduceConfig,
}
