"""The optimiser and the schedule that a config names; ValueError for one that is forgotten here."""

from src.config.schema import (
    AdagradConfig,
    AdamConfig,
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
from src.rnn import optimizers, schedules
from src.rnn.optimizers import Optimizer
from src.rnn.schedules import Schedule


def make_optimizer(config: OptimizerConfig) -> Optimizer:
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


def make_schedule(config: ScheduleConfig, epochs: float) -> Schedule:
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
