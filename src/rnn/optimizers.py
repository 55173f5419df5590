"""Published update rules, each on one flat vector.

The protocol: an optimiser is its hyperparameters and nothing else. `state(w)` makes the arrays that it
remembers between steps; `update(state, w, g, lr)` takes one step, in place. Whoever trains holds the
state, so it can be saved, and two trainings never share any.

w: parameters (n,). g: gradient (n,), which a step may overwrite. lr: learning rate. Scalars are taken
as Python floats, so that float32 stays float32.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import numpy as np

from src.rnn.parameters import Array

State = dict[str, Array]


class Optimizer(Protocol):
    def state(self, w: Array) -> State:
        """What is remembered between steps, before the first."""

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """One step, in place."""


@dataclass(frozen=True)
class Sgd:
    """w <- w - lr g. Robbins and Monro (1951), "A stochastic approximation method"."""

    def state(self, w: Array) -> State:
        return {}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        g *= lr
        w -= g


@dataclass(frozen=True)
class Momentum:
    """u <- momentum u + g, w <- w - lr u; with Nesterov's, w <- w - lr (g + momentum u).

    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and momentum in
    deep learning", in the form in which torch.optim.SGD has it.
    """

    momentum: float
    nesterov: bool

    def state(self, w: Array) -> State:
        return {"velocity": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        u = state["velocity"]
        u *= self.momentum
        u += g
        w -= lr * (g + self.momentum * u) if self.nesterov else lr * u


@dataclass(frozen=True)
class Adagrad:
    """s <- s + g^2, w <- w - lr g / (sqrt(s) + eps).

    Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization".
    """

    eps: float

    def state(self, w: Array) -> State:
        return {"squares": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        s = state["squares"]
        s += g * g
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class RmsProp:
    """s <- decay s + (1 - decay) g^2, w <- w - lr g / (sqrt(s) + eps).

    Tieleman and Hinton (2012), "Lecture 6.5: RMSProp", Coursera.
    """

    decay: float
    eps: float

    def state(self, w: Array) -> State:
        return {"squares": np.zeros_like(w)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        s = state["squares"]
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class Adam:
    """m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
    w <- w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)        at step k = 1, 2, ...

    Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    beta1: float
    beta2: float
    eps: float

    def state(self, w: Array) -> State:
        return {
            "mean": np.zeros_like(w),
            "squares": np.zeros_like(w),
            "scratch": np.empty_like(w),
            "step": np.zeros((), np.int64),
        }

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        m, v, scratch = state["mean"], state["squares"], state["scratch"]
        state["step"] += 1
        k = int(state["step"])
        m *= self.beta1
        np.multiply(g, 1 - self.beta1, out=scratch)
        m += scratch
        v *= self.beta2
        np.multiply(g, g, out=scratch)
        scratch *= 1 - self.beta2
        v += scratch
        np.sqrt(v, out=scratch)
        scratch *= 1 / sqrt(1 - self.beta2**k)
        scratch += self.eps
        np.divide(m, scratch, out=scratch)
        scratch *= lr / (1 - self.beta1**k)
        w -= scratch


def decay_weights(matrices: list[Array], share: float) -> None:
    """w <- (1 - share) w for every weight matrix, in place: weight decay apart from the gradient.

    share: lr times the weight decay. Loshchilov and Hutter (2019), "Decoupled weight decay
    regularization"; biases are left alone, as is usual.
    """
    for matrix in matrices:
        matrix *= 1 - share


def average_weights(average: Array, w: Array, decay: float, step: int) -> None:
    """average <- d average + (1 - d) w at step k = 1, 2, ..., d = min(decay, (1 + k) / (10 + k)), in place.

    The mean of the last weights generalises better than the last ones: Polyak and Juditsky (1992),
    "Acceleration of stochastic approximation by averaging". The ramp, so that the first, random weights
    are soon forgotten, is that of TensorFlow's ExponentialMovingAverage.
    """
    d = min(decay, (1 + step) / (10 + step))
    average *= d
    average += (1 - d) * w
