"""Published update rules of optimizers, each on one flat vector, and gradient clipping.

An optimizer consists of its hyperparameters. `state(w)` makes the arrays that persist between steps, and
`update(state, w, g, lr)` takes one step, in place. The trainer keeps the state and saves it in checkpoints.

In the equations w is the vector of the parameters, shape (n,), g the gradient, shape (n,), and lr the
learning rate. Scalars are Python floats, so that float32 arrays stay float32. The defaults of the
hyperparameters, with their reasons, are in conf/optimizer/.
"""

import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from math import isfinite, sqrt
from typing import Any, ClassVar

import numpy as np

from src.rnn.cache import zeros
from src.rnn.parameters import Array

BLOCK_ELEMENTS = 2**15  # numbers: blocks of four arrays fit in the second-level cache
SMALLEST_EPS = 1e-30  # a normal number in float32

State = dict[str, Array]


BOUNDS = {
    "ge": (">=", operator.ge),
    "gt": (">", operator.gt),
    "le": ("<=", operator.le),
    "lt": ("<", operator.lt),
}


def check_fields(instance: Any) -> None:
    """Check the hyperparameters of a dataclass.

    A number within bounds is declared as `field(metadata={"ge": 0, "lt": 1})`, with keys of `BOUNDS`; it must
    be finite, and an int if the type of the field is int. A field of type bool must be True or False.

    Args:
        instance: Instance of the dataclass.

    Raises:
        ValueError: A field is out of bounds or has a wrong type; one line that names the bounds.

    Examples:
        >>> RMSprop(decay=2, eps=1e-8)
        Traceback (most recent call last):
        ValueError: decay: expected a number >= 0 and < 1, got 2
    """
    for each in fields(instance):
        value, whole = getattr(instance, each.name), each.type is int
        if each.type is bool and not isinstance(value, bool):
            raise ValueError(f"{each.name}: expected true or false, got {value}")
        bounds = [(*BOUNDS[key], each.metadata[key]) for key in BOUNDS if key in each.metadata]
        if not bounds:
            continue
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not (number and isfinite(value) and all(holds(value, end) for _, holds, end in bounds)):
            expected = " and ".join(f"{sign} {end:g}" for sign, _, end in bounds)
            kind = "an integer" if whole else "a number"
            raise ValueError(f"{each.name}: expected {kind} {expected}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """Base class of the optimizers; `optimizer._target_` of the config names a subclass.

    Attributes:
        arrays: Names of the arrays that persist between steps and begin as zeros.
        weight_decay: Decoupled weight decay, >= 0, which the trainer applies (see `decay_weights`).
    """

    arrays: ClassVar[tuple[str, ...]] = ()
    weight_decay: float = field(default=0.0, metadata={"ge": 0})

    def __post_init__(self) -> None:
        """Check the hyperparameters; see `check_fields`."""
        check_fields(self)

    def state(self, w: Array) -> State:
        """Return the arrays that persist between steps, with their values before the first step.

        Args:
            w: Flat vector of the parameters, shape (n,); it determines shape and dtype of the arrays.

        Returns:
            New arrays by name; by default zeros with the names in `arrays`.
        """
        return {name: zeros(w.shape, w.dtype) for name in self.arrays}

    @abstractmethod
    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Arrays that `state` returned, updated.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,); it may be overwritten.
            lr: Learning rate, > 0.
        """


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent.

        w <- w - lr g

    Robbins and Monro (1951), "A stochastic approximation method".
    """

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Unused.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,), overwritten.
            lr: Learning rate, > 0.
        """
        g *= lr
        w -= g


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with momentum.

        u <- momentum u + g
        w <- w - lr u                          standard
        w <- w - lr (g + momentum u)           Nesterov

    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and momentum in deep
    learning", in the form of torch.optim.SGD.

    Attributes:
        momentum: Decay factor per step of the velocity u, in [0, 1).
        nesterov: Whether to use Nesterov momentum.
    """

    arrays = ("velocity",)
    momentum: float = field(metadata={"ge": 0, "lt": 1})
    nesterov: bool

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Arrays that `state` returned, updated.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,), not changed.
            lr: Learning rate, > 0.
        """
        u = state["velocity"]
        u *= self.momentum
        u += g
        w -= lr * (g + self.momentum * u) if self.nesterov else lr * u


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: divides the gradient of each weight by the root of the sum of its squared gradients.

        s <- s + g^2
        w <- w - lr g / (sqrt(s) + eps)

    Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization".

    Attributes:
        eps: Small constant that keeps the division finite, >= SMALLEST_EPS.
    """

    arrays = ("sum",)
    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Arrays that `state` returned, updated.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,), not changed.
            lr: Learning rate, > 0.
        """
        s = state["sum"]
        s += g * g
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSProp: divides the gradient of each weight by the root of a running mean of its squared gradients.

        s <- decay s + (1 - decay) g^2
        w <- w - lr g / (sqrt(s) + eps)

    Tieleman and Hinton (2012), "Lecture 6.5: RMSProp", Coursera.

    Attributes:
        decay: Decay factor per step of the running mean s, in [0, 1).
        eps: Small constant that keeps the division finite, >= SMALLEST_EPS.
    """

    arrays = ("square_avg",)
    decay: float = field(metadata={"ge": 0, "lt": 1})
    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Arrays that `state` returned, updated.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,), not changed.
            lr: Learning rate, > 0.
        """
        s = state["square_avg"]
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        w -= lr * g / (np.sqrt(s) + self.eps)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: running means of the gradient and of its square, corrected for their start at zero.

        m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
        w <- w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)        at step k = 1, 2, ...

    Kingma and Ba (2015), "Adam: a method for stochastic optimization", algorithm 1. The state contains
    m / (1 - beta1) and v / (1 - beta2), which need no products with 1 - beta; the remaining factors are
    included in lr and eps. Large vectors are updated block by block, so that a block stays in the CPU cache.

    Attributes:
        beta1: Decay factor per step of the running mean m of the gradient, in [0, 1).
        beta2: Decay factor per step of the running mean v of the squared gradient, in [0, 1).
        eps: Small constant that keeps the division finite, >= SMALLEST_EPS.
    """

    arrays = ("exp_avg", "exp_avg_sq")
    beta1: float = field(metadata={"ge": 0, "lt": 1})
    beta2: float = field(metadata={"ge": 0, "lt": 1})
    eps: float = field(metadata={"ge": SMALLEST_EPS})

    def state(self, w: Array) -> State:
        """Return the running means and the step number before the first step.

        Args:
            w: Flat vector of the parameters, shape (n,).

        Returns:
            `exp_avg`, m / (1 - beta1), and `exp_avg_sq`, v / (1 - beta2), zeros of the shape and dtype of
                `w`, and `step`, k, an int64 scalar array.
        """
        return super().state(w) | {"step": np.zeros((), np.int64)}

    def update(self, state: State, w: Array, g: Array, lr: float) -> None:
        """Take one step, in place.

        Args:
            state: Arrays that `state` returned, updated.
            w: Flat vector of the parameters, shape (n,), updated.
            g: Gradient, shape (n,), overwritten.
            lr: Learning rate, > 0.
        """
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
        """Take one step on a part of the vectors, in place.

            m <- beta1 m + g        v <- beta2 v + g^2        w <- w - rate m / (sqrt(v) + eps)

        Args:
            m: Part of `exp_avg`, updated.
            v: Part of `exp_avg_sq`, updated.
            w: Part of the parameters, updated.
            g: Part of the gradient, overwritten.
            rate: Learning rate that includes the corrections for the step number.
            eps: The constant `eps`, scaled by the correction for `beta2`.
        """
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
    """Apply decoupled weight decay to every weight matrix, in place.

        w <- (1 - rate) w

    Loshchilov and Hutter (2019), "Decoupled weight decay regularization": the decay is not part of the
    gradient. Biases are not decayed, as usual.

    Args:
        matrices: Weight matrices, updated; see `Parameters.matrices`.
        rate: Learning rate times weight decay.

    Examples:
        >>> w = np.array([[2.0, -4.0]])
        >>> decay_weights([w], 0.25); w.tolist()
        [[1.5, -3.0]]
    """
    for matrix in matrices:
        matrix *= 1 - rate


def ema_update(average: Array, w: Array, decay: float, step: int) -> None:
    """Update an exponential moving average of the weights, in place.

        average <- d average + (1 - d) w        d = min(decay, (1 + k) / (10 + k))    at step k = 1, 2, ...

    The mean of the last weights generalizes better than the last weights: Polyak and Juditsky (1992),
    "Acceleration of stochastic approximation by averaging". d grows with k, as in the
    ExponentialMovingAverage of TensorFlow, so that the first, random weights are soon forgotten.

    Args:
        average: The average, shape (n,), updated.
        w: Flat vector of the parameters, shape (n,).
        decay: Upper bound of d, in [0, 1).
        step: Step number k, from 1.
    """
    d = min(decay, (1 + step) / (10 + step))
    average *= d
    average += (1 - d) * w


def global_norm(g: Array) -> float:
    """Compute the Euclidean norm of the whole gradient.

    Args:
        g: Gradient, shape (n,).

    Returns:
        Norm ||g||.

    Examples:
        >>> global_norm(np.array([3.0, -4.0]))
        5.0
    """
    return sqrt(float(np.dot(g, g)))


def clip_norm(g: Array, norm: float, limit: float) -> bool:
    """Scale the gradient in place so that its norm is at most `limit`.

    Algorithm 1 of Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural
    networks".

    Args:
        g: Gradient, shape (n,), updated.
        norm: Its norm, the result of `global_norm(g)`.
        limit: Largest allowed norm, > 0.

    Returns:
        Whether the gradient was clipped.

    Examples:
        >>> g = np.array([3.0, -4.0])
        >>> clip_norm(g, norm=5.0, limit=2.5), g.tolist()
        (True, [1.5, -2.0])
    """
    if norm <= limit:
        return False
    g *= limit / norm
    return True


def clip_value(g: Array, limit: float) -> bool:
    """Clip every element of the gradient to [-limit, limit], in place.

    As in Graves (2013), "Generating sequences with recurrent neural networks", and in min-char-rnn.

    Args:
        g: Gradient, shape (n,), updated.
        limit: Largest allowed absolute value of an element, > 0.

    Returns:
        Whether any element was clipped.

    Examples:
        >>> g = np.array([3.0, -0.5])
        >>> clip_value(g, limit=1.0), g.tolist()
        (True, [1.0, -0.5])
    """
    beyond = max(float(g.max()), -float(g.min())) > limit
    if beyond:
        np.clip(g, -limit, limit, out=g)
    return beyond
