"""Every key of the configuration: its type and the values it may take.

What a key does, and why its default is what it is, stands beside the default in `conf/`. Here stand
the types and ranges; `src/config/validation.py` refuses what lies outside them before anything runs.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING

from src.config.constraints import Allowed, choice, flag, integer, number, text

EXPERIMENTS = (  # folders of experiments/ that are sweeps
    "clipping", "state", "temperature", "context", "cells", "tinyshakespeare", "karpathy2015",
)  # fmt: skip
PARTS = ("karpathy2015_64", "karpathy2015_128", "karpathy2015_256")  # that may be run by themselves
# Where a run is made and what is done with it there, groups by their names. It comes to the same with any.
ASIDE = ("output_dir", "data_dir", "tracking", "skip_finished", "objectives", "register", "resume", "rerun")
# What a search may ask for (Config.objectives), and which way is better.
OBJECTIVES = {"val/loss": "minimize", "throughput/chars_per_second": "maximize"}


@dataclass
class DataConfig:
    """data."""

    name: str = choice("smallshake", "shakespeare", "tinyshakespeare", "warandpeace", "file")
    path: str | None = text(optional="the corpus' own source")
    lowercase: bool = flag()
    letters_only: bool = flag()
    collapse_spaces: bool = flag()
    encoding: str = text()
    split: list[float] = field(
        default=MISSING, metadata={"allowed": Allowed("three shares that add up to 1")}
    )
    stride: int = integer(1)
    max_vocabulary: int = integer(2, most=65536)


@dataclass
class ModelConfig:
    """model."""

    name: str = choice("rnn", "gru", "lstm")
    layers: int = integer(1)
    dropout: float = number(least=0, below=1)
    init: str = choice("uniform", "orthogonal", "identity")
    activation: str = choice("tanh", "relu")


@dataclass
class OptimizerConfig:
    """optimizer: what every choice has; those below add what only they have."""

    name: str = text()
    weight_decay: float = number(least=0)


@dataclass
class SgdConfig(OptimizerConfig):
    name: str = choice("sgd")


@dataclass
class MomentumConfig(OptimizerConfig):
    name: str = choice("momentum")
    momentum: float = number(least=0, below=1)
    nesterov: bool = flag()


@dataclass
class AdagradConfig(OptimizerConfig):
    name: str = choice("adagrad")
    eps: float = number(least=1e-30)


@dataclass
class RmspropConfig(OptimizerConfig):
    name: str = choice("rmsprop")
    decay: float = number(least=0, below=1)
    eps: float = number(least=1e-30)


@dataclass
class AdamConfig(OptimizerConfig):
    name: str = choice("adam")
    beta1: float = number(least=0, below=1)
    beta2: float = number(least=0, below=1)
    eps: float = number(least=1e-30)


@dataclass
class ScheduleConfig:
    """schedule: likewise."""

    name: str = text()
    warmup: int = integer(0)


@dataclass
class ConstantConfig(ScheduleConfig):
    name: str = choice("constant")


@dataclass
class CosineConfig(ScheduleConfig):
    name: str = choice("cosine")
    final: float = number(least=0, most=1)


@dataclass
class PlateauConfig(ScheduleConfig):
    name: str = choice("plateau")
    factor: float = number(above=0, below=1)
    patience: int = integer(1)
    least: float = number(least=0, most=1)


@dataclass
class DecayConfig(ScheduleConfig):
    name: str = choice("decay")
    factor: float = number(above=0, most=1)
    after: int = integer(0)


@dataclass
class TrackingConfig:
    """tracking."""

    name: str = choice("mlflow", "none")
    uri: str | None = text(optional="the project's own database")
    experiment: str = text()
    run_name: str | None = text(optional="a name made of the config")


@dataclass
class PlacesConfig:
    """What every command has: where it reads and writes, and where it tracks."""

    output_dir: str = text()
    data_dir: str = text()
    tracking: TrackingConfig = MISSING


@dataclass
class Config(PlacesConfig):
    """preprocess, train and pipeline."""

    hidden: int = integer(1)
    seq_len: int = integer(1)
    lr: float = number(above=0)
    clip: float | None = number(above=0, optional="no clipping")
    clip_mode: str = choice("norm", "value")
    patience: int | None = integer(1, optional="no early stopping")
    min_delta: float = number(least=0)
    eval_every: int = integer(1)
    max_eval_chars: int | None = integer(1, optional="all of them")
    temperature: float = number(least=0)
    temperatures: list[float] = field(
        default=MISSING, metadata={"allowed": Allowed("numbers", least=0, several=True)}
    )
    prompt: str = text()
    length: int = integer(0)
    seed: int = integer(0)
    batch_size: int = integer(1)
    max_epochs: float = number(above=0, most=1e6)
    max_seconds: float | None = number(above=0, optional="no limit")
    ema_decay: float = number(least=0, below=1)
    workers: int = integer(1)
    batching: str = choice("shuffled", "contiguous")
    stateful: bool = flag()
    log_every: int = integer(1)
    diagnostics: bool = flag()
    skip_finished: bool = flag()
    objectives: list[str] = field(
        default=MISSING, metadata={"allowed": Allowed("a list", choices=tuple(OBJECTIVES), several=True)}
    )
    prune: bool = flag()
    register: bool = flag()
    resume: str | None = text(optional="a run of its own")
    init_from: str | None = text(optional="weights drawn at random")
    on_divergence: str = choice("stop", "rollback")
    rollback_lr_factor: float = number(above=0, below=1)
    max_rollbacks: int = integer(1)
    rerun: str | None = text(optional="a run of the config as typed")
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING


@dataclass
class EvaluateConfig(PlacesConfig):
    """evaluate."""

    run: str = text()
    temperatures: list[float] = field(
        default=MISSING, metadata={"allowed": Allowed("numbers", least=0, several=True)}
    )
    length: int = integer(0)
    seed: int = integer(0)


@dataclass
class SampleConfig(PlacesConfig):
    """sample."""

    run: str = text()
    prompt: str = text()
    temperature: float = number(least=0)
    top_k: int | None = integer(1, optional="all of them")
    top_p: float | None = number(above=0, most=1, optional="all of them")
    length: int = integer(0)
    seed: int = integer(0)
    num_samples: int = integer(1)


@dataclass
class UiConfig(PlacesConfig):
    """ui."""

    host: str = text()
    port: int = integer(1, most=65535)


@dataclass
class ServerConfig(PlacesConfig):
    """server."""

    host: str = text()
    port: int = integer(1, most=65535)
    backend_store_uri: str | None = text(optional="an SQLite file under outputs/")
    allowed_hosts: str | None = text(optional="the loopback and private addresses")


@dataclass
class PlayConfig(UiConfig):
    """play."""

    left: str = text()
    right: str = text()
    prompt: str = text()
    temperature: float = number(least=0)
    top_k: int | None = integer(1, optional="all of them")
    top_p: float | None = number(above=0, most=1, optional="all of them")
    length: int = integer(0, most=100_000)
    seed: int = integer(0)


@dataclass
class ReproduceConfig(PlacesConfig):
    """reproduce."""

    preset: str = choice("quick", "full")
    experiments: list[str] | None = field(
        default=MISSING,
        metadata={
            "allowed": Allowed(
                "a list", choices=EXPERIMENTS + PARTS, several=True, optional="those of the preset"
            )
        },
    )
    warandpeace: str | None = text(optional="left out")
    tinyshakespeare: str | None = text(optional="downloaded")


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
# Schemas that a YAML of the group extends: `defaults: - /schema/optimizer/adam@_here_`.
OPTIMIZERS = {
    "sgd": SgdConfig,
    "momentum": MomentumConfig,
    "adagrad": AdagradConfig,
    "rmsprop": RmspropConfig,
    "adam": AdamConfig,
}
SCHEDULES = {
    "constant": ConstantConfig,
    "cosine": CosineConfig,
    "plateau": PlateauConfig,
    "decay": DecayConfig,
}
