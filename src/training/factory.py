"""Build what a config names: network sizes, batches, optimizer and schedule."""

import numpy as np

from src.config.constraints import instantiate
from src.config.schema import Config
from src.data.batches import Batches, ContiguousStreams, ShuffledWindows
from src.data.corpus import Corpus
from src.rnn.optimizers import Optimizer
from src.rnn.parameters import RNNConfig
from src.rnn.schedules import Schedule


def build_architecture(config: Config, corpus: Corpus) -> RNNConfig:
    """Return the sizes of the network that a config names for a corpus."""
    m = config.model
    return RNNConfig(len(corpus.vocabulary), config.hidden, m.name, m.layers, m.activation)


def build_batches(config: Config, corpus: Corpus, rng: np.random.Generator) -> Batches:
    """Build the supply of training batches that `batching` names."""
    tokens = corpus.split("train")
    if config.batching == "contiguous":
        return ContiguousStreams(tokens, config.seq_len, config.batch_size, rng)
    return ShuffledWindows(tokens, config.seq_len, config.batch_size, config.data.stride, rng)


def build_optimizer(config: Config) -> Optimizer:
    """Instantiate the optimizer that `optimizer._target_` names."""
    optimizer: Optimizer = instantiate("optimizer", config.optimizer)
    return optimizer


def build_schedule(config: Config) -> Schedule:
    """Instantiate the schedule that `schedule._target_` names."""
    schedule: Schedule = instantiate("schedule", config.schedule)
    return schedule
