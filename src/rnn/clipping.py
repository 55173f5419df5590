"""Gradient clipping: what keeps one exploding gradient from throwing the weights away."""

from math import sqrt

import numpy as np

from src.rnn.parameters import Array


def global_norm(g: Array) -> float:
    """The Euclidean norm of the whole gradient (n,).

    >>> global_norm(np.array([3.0, -4.0]))
    5.0
    """
    return sqrt(float(np.dot(g, g)))


def clip_norm(g: Array, norm: float, limit: float) -> bool:
    """Scale g so that its norm is at most `limit`, in place; was it clipped?

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
    """Cut every element of g to [-limit, limit], in place; was any beyond it?

    As in Graves (2013), "Generating sequences with recurrent neural networks", and min-char-rnn.

    >>> g = np.array([3.0, -0.5])
    >>> clip_value(g, limit=1.0), g.tolist()
    (True, [1.0, -0.5])
    """
    beyond = max(float(g.max()), -float(g.min())) > limit
    if beyond:
        np.clip(g, -limit, limit, out=g)
    return beyond
