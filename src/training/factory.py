"""Build what a config names: network sizes, batches, optimizer and schedule."""

import numpy as np

from src.config.schema import (
    AdagradConfig,
    AdamConfig,
    Config,
    ConstantConfig,
    CosineConfig,
    DecayConfig,
    MomentumConfig,
    OptimizerConfig,
    PlateauConfig,
    RmspropConfig,
    ScheduleConfig,
    SgdConfig,
)
from src.data.batches import Batches, Streams, Windows
from src.data.corpus import Corpus
from src.rnn import optimizers, schedules
from src.rnn.optimizers import Optimizer
from src.rnn.parameters import Architecture
from src.rnn.schedules import Schedule


def build_optimizer(config: OptimizerConfig) -> Optimizer:
    """The update rule with its hyperparameters; the learning rate comes with each step."""
    match config:
        case MomentumConfig():
            return optimizers.Momentum(config.momentum, config.nesterov)
        case AdagradConfig():
            return optimizers.Adagrad(config.eps)
        case RmspropConfig():
            return optimizers.RmsProp(config.decay, config.eps)
        case AdamConfig():
            return optimizers.Adam(config.beta1, config.beta2, config.eps)
        case SgdConfig():
            return optimizers.Sgd()
    raise ValueError(f"expected an optimiser that is made here, got {config.name}")


def build_schedule(config: ScheduleConfig, epochs: float) -> Schedule:
    """epochs: of the whole training."""
    match config:
        case CosineConfig():
            return schedules.Cosine(config.warmup, config.final)
        case PlateauConfig():
            return schedules.Plateau(config.warmup, config.factor, config.patience, config.least)
        case DecayConfig():
            return schedules.Decay(config.warmup, config.factor, config.after, epochs)
        case ConstantConfig():
            return schedules.Constant(config.warmup)
    raise ValueError(f"expected a schedule that is made here, got {config.name}")


def build_architecture(config: Config, corpus: Corpus) -> Architecture:
    """Return the sizes of the network that a config names for a corpus."""
    m = config.model
    return Architecture(len(corpus.vocabulary), config.hidden, m.name, m.layers, m.activation)


def build_batches(config: Config, corpus: Corpus, rng: np.random.Generator) -> Batches:
    """Build the supply of training batches that `batching` names."""
    tokens = corpus.split("train")
    if config.batching == "contiguous":
        return Streams(tokens, config.seq_len, config.batch_size, rng)
    return Windows(tokens, config.seq_len, config.batch_size, config.data.stride, rng)
