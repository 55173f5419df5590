"""The mathematics: forward and backward passes, loss, optimizers, schedules. NumPy only.

The names in `__all__` are imported at their first use: a command that needs none starts without NumPy.
A network in a few lines: `src.api.CharRNN`. The mathematics as the equations stand: `src.rnn.reference`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from src.rnn.cells import Cell, get_cell
    from src.rnn.loss import cross_entropy, cross_entropy_and_gradient, log_softmax
    from src.rnn.network import Buffers, backward, dropout_masks, forward, loss_and_gradient, zero_state
    from src.rnn.optimizers import (
        SGD,
        Adagrad,
        Adam,
        Momentum,
        Optimizer,
        RMSprop,
        clip_norm,
        clip_value,
        global_norm,
    )  # fmt: skip
    from src.rnn.parameters import Layer, Parameters, RNNConfig, initialize, named_views, unflatten
    from src.rnn.schedules import Constant, Cosine, Decay, Plateau, Schedule
    from src.rnn.step import Stepper

__all__ = [
    "SGD", "Adagrad", "Adam", "Buffers", "Cell", "Constant", "Cosine", "Decay", "Layer", "Momentum",
    "Optimizer", "Parameters", "Plateau", "RMSprop", "RNNConfig", "Schedule", "Stepper", "backward",
    "clip_norm", "clip_value", "cross_entropy", "cross_entropy_and_gradient", "dropout_masks", "forward",
    "get_cell", "global_norm", "initialize", "log_softmax", "loss_and_gradient", "named_views", "unflatten",
    "zero_state",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from src.rnn import cells, loss, network, optimizers, parameters, schedules, step

    modules = (cells, loss, network, optimizers, parameters, schedules, step)
    return next(vars(module)[name] for module in modules if name in vars(module))


def __dir__() -> list[str]:
    return __all__
