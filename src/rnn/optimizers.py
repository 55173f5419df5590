"""Published update rules, each on one flat vector, and gradient clipping.

An optimizer consists of its hyperparameters. `state(w)` makes the arrays that persist between steps, and
`update(state, w, g, lr)` takes one step, in place. The trainer holds the state and saves it.

w: parameters (n,). g: gradient (n,), which a step may overwrite. lr: learning rate. Scalars are taken
as Python floats, so that float32 stays float32.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from math import isfinite, sqrt
from typing import Any

import numpy as np

from src.rnn.cache import zeros
from src.rnn.parameters import Array

BLOCK_ELEMENTS = 2**15  # numbers: blocks of four arrays fit in the second-level cache
SMALLEST_EPS = 1e-30  # a normal number in float32

State = dict[str, Array]


def check_number(
    name: str,
    value: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    integer: bool = False,
) -> None:
    """Raise ValueError unless a value is a finite number (with `integer` an int) within its bounds.

    >>> check_number("beta1", 2, ge=0, lt=1)
    Traceback (most recent call last):
    ValueError: beta1: expected a number >= 0 and < 1, got 2
    """
    number = isinstance(value, int if integer else int | float) and not isinstance(value, bool)
    within = number and isfinite(value)
    within = within and (ge is None or value >= ge) and (gt is None or value > gt)
    within = within and (le is None or value <= le) and (lt is None or value < lt)
    if not within:
        ends = {">=": ge, ">": gt, "<=": le, "<": lt}
        bounds = " and ".join(f"{sign} {end:g}" for sign, end in ends.items() if end is not None)
        raise ValueError(f"{name}: expected {'an integer' if integer else 'a number'} {bounds}, got {value}")


def check_fields(instance: Any) -> None:
    """Check the hyperparameters of a dataclass.

    A number within bounds is `field(metadata={"ge": 0, "lt": 1})`, with the arguments of `check_number`; a
    field of type bool holds True or False.

    Raises:
        ValueError: One is out of range.
    """
    for each in fields(instance):
        value = getattr(instance, each.name)
        if each.metadata:
            check_number(each.name, value, **each.metadata)
        elif each.type is bool and not isinstance(value, bool):
            raise ValueError(f"{each.name}: expected true or false, got {value}")


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """Base class: what `optimizer._target_` of the configuration may name is a subclass.

    Args:
        weight_decay: Decoupled weight decay, which the trainer applies (see `decay_weights`).
    """

    weight_decay: float = field(default=0.0, metadata={"ge": 0})

    def __post_init__(self) -> None:
        """Check the hyperparameters; see `check_fields`."""
        check_fields(self)

    @abstractmethod
    def state(self, w: Array) -> State:
        """Return the arrays that are remembered between steps, as they are before the first."""

    @abstractmethod
    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place."""


@dataclass(frozen=True)
class SGD(Optimizer):
    """w <- w - lr g. Robbins and Monro (1951), "A stochastic approximation method"."""

    def state(self, w: Array) -> State:
        return {}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        g *= lr
        w -= g


@dataclass(frozen=True)
class Momentum(Optimizer):
    """u <- momentum u + g, w <- w - lr u; with Nesterov's, w <- w - lr (g + momentum u).

    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and momentum in
    deep learning", in the form in which torch.optim.SGD has it.
    """

    momentum: float = field(metadata={"ge": 0, "lt": 1})
    nesterov: bool

    def state(self, w: Array) -> State:
        return {"velocity": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        u = state["velocity"]
        u *= self.momentum
        u += g
        w -= lr * (g + self.momentum * u) if self.nesterov else lr * u


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s <- s + g^2, w <- w - lr g / (sqrt(s) + eps).

    Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization".
    """

    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def state(self, w: Array) -> State:
        return {"sum": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        s = state["sum"]
        s += g * g
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s <- decay s + (1 - decay) g^2, w <- w - lr g / (sqrt(s) + eps).

    Tieleman and Hinton (2012), "Lecture 6.5: RMSProp", Coursera.
    """

    decay: float = field(metadata={"ge": 0, "lt": 1})
    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def state(self, w: Array) -> State:
        return {"square_avg": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        s = state["square_avg"]
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class Adam(Optimizer):
    """m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    w <- w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)        at step k = 1, 2, ...

    Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1. Remembered are
    m / (1 - beta1) and v / (1 - beta2), which need no products with 1 - beta; what is left of these factors
    is folded into lr and eps. Large vectors go through the cache block by block.
    """

    beta1: float = field(metadata={"ge": 0, "lt": 1})
    beta2: float = field(metadata={"ge": 0, "lt": 1})
    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def state(self, w: Array) -> State:
        return {
            "exp_avg": zeros(w.shape, w.dtype),
            "exp_avg_sq": zeros(w.shape, w.dtype),
            "step": np.zeros((), np.int64),
        }

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        state["step"] += 1
        k = int(state["step"])
        debias = sqrt((1 - self.beta2**k) / (1 - self.beta2))
        rate = lr * (1 - self.beta1) / (1 - self.beta1**k) * debias
        eps = self.eps * debias
        for begin in range(0, w.size, BLOCK_ELEMENTS):
            block = slice(begin, begin + BLOCK_ELEMENTS)
            self.update_block(
                state["exp_avg"][block], state["exp_avg_sq"][block], w[block], g[block], rate, eps
            )

    def update_block(self, m: Array, v: Array, w: Array, g: Array, rate: float, eps: float) -> None:
        m *= self.beta1
        m += g
        g *= g
        v *= self.beta2
        v += g
        np.sqrt(v, out=g)
        g += eps
        np.divide(m, g, out=g)
        g *= rate
        w -= g


def decay_weights(matrices: list[Array], rate: float) -> None:
    """w <- (1 - rate) w for every weight matrix, in place: weight decay apart from the gradient.

    rate: lr times the weight decay. Loshchilov and Hutter (2019), "Decoupled weight decay
    regularization"; biases are left alone, as is usual.

    >>> w = np.array([[2.0, -4.0]])
    >>> decay_weights([w], 0.25); w.tolist()
    [[1.5, -3.0]]
    """
    for matrix in matrices:
        matrix *= 1 - rate


def ema_update(average: Array, w: Array, decay: float, step: int) -> None:
    """average <- d average + (1 - d) w at step k = 1, 2, ..., d = min(decay, (1 + k) / (10 + k)), in place.

    The mean of the last weights generalizes better than the last ones: Polyak and Juditsky (1992),
    "Acceleration of stochastic approximation by averaging". The ramp, so that the first, random weights
    are soon forgotten, is that of TensorFlow's ExponentialMovingAverage.
    """
    d = min(decay, (1 + step) / (10 + step))
    average *= d
    average += (1 - d) * w


def global_norm(g: Array) -> float:
    """Return the Euclidean norm of the whole gradient (n,).

    >>> global_norm(np.array([3.0, -4.0]))
    5.0
    """
    return sqrt(float(np.dot(g, g)))


def clip_norm(g: Array, norm: float, limit: float) -> bool:
    """Scale g so that its norm is at most `limit`, in place; return whether it was clipped.

    norm: global_norm(g). Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent
    neural networks", algorithm 1.

    >>> g = np.array([3.0, -4.0])
    >>> clip_norm(g, norm=5.0, limit=2.5), g.tolist()
    (True, [1.5, -2.0])
    """
    if norm <= limit:
        return False
    g *= limit / norm
    return True


def clip_value(g: Array, limit: float) -> bool:
    """Clip every element of g to [-limit, limit], in place; return whether any was beyond.

    As in Graves (2013), "Generating sequences with recurrent neural networks", and min-char-rnn.

    >>> g = np.array([3.0, -0.5])
    >>> clip_value(g, limit=1.0), g.tolist()
    (True, [1.0, -0.5])
    """
    beyond = max(float(g.max()), -float(g.min())) > limit
    if beyond:
        np.clip(g, -limit, limit, out=g)
    return beyond
