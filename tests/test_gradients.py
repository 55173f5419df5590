"""Every gradient of the network against differentiation that knows nothing of its derivation.

Complex step: df/dx = Im f(x + i eps) / eps. Nothing is subtracted, so eps can be so small that the
derivative is exact to rounding (Squire and Trapp 1998, "Using complex variables to estimate derivatives
of real functions").
"""

import functools

import numpy as np
import pytest

from src.rnn.loss import cross_entropy
from src.rnn.network import BackwardBuffers, ForwardBuffers, forward, loss_and_gradient
from src.rnn.parameters import Architecture, Parameters, unflatten

EPS = 1e-30
SHAPES = [  # T, B, H, V
    (1, 1, 1, 2),
    (1, 1, 3, 4),
    (1, 3, 2, 2),
    (4, 1, 1, 3),
    (3, 2, 1, 2),
    (5, 1, 4, 3),
    (4, 3, 5, 7),
    (9, 2, 3, 2),
]


class Problem:
    """A random network in double precision, a batch, and a hidden state that is not zero."""

    def __init__(self, steps: int, batch: int, hidden: int, vocab: int, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, steps, batch, hidden, vocab])
        self.architecture = Architecture(vocab=vocab, hidden=hidden)
        self.flat = rng.standard_normal(self.architecture.size()) / np.sqrt(hidden)
        self.ids = rng.integers(vocab, size=(steps, batch))
        self.targets = rng.integers(vocab, size=(steps, batch))
        self.h0 = rng.uniform(-0.9, 0.9, (batch, hidden))

    def loss(self, flat):
        """The loss at `flat`, real or complex, by the forward pass alone."""
        buffers = ForwardBuffers.allocate(self.architecture, *self.ids.shape, dtype=flat.dtype)
        buffers.h[0] = self.h0
        logits = forward(unflatten(self.architecture, flat), self.ids, buffers)
        return cross_entropy(logits, self.targets.reshape(-1))[()]

    def gradient(self, dtype=np.float64):
        """The flat gradient by backpropagation; what it does not write stays NaN."""
        flat, g = self.flat.astype(dtype), np.full(self.flat.size, np.nan, dtype)
        made = ForwardBuffers.allocate(self.architecture, *self.ids.shape, dtype=dtype)
        made.h[0] = self.h0
        scratch = BackwardBuffers.allocate(self.architecture, *self.ids.shape, dtype=dtype)
        p, views = unflatten(self.architecture, flat), unflatten(self.architecture, g)
        loss_and_gradient(p, views, self.ids, self.targets, made, scratch)
        return g

    def derivative(self, direction):
        """Along a direction, by a complex step."""
        return self.loss(self.flat + 1j * EPS * direction).imag / EPS


@functools.cache
def both(shape):
    """Backpropagation's gradient and complex-step differentiation's, for every parameter."""
    problem = Problem(*shape)
    exact = np.array([problem.derivative(direction) for direction in np.eye(problem.flat.size)])
    return unflatten(problem.architecture, problem.gradient()), unflatten(problem.architecture, exact)


@pytest.mark.parametrize("name", Parameters._fields)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_is_the_complex_step_derivative(shape, name):
    by_hand, exact = (getattr(parameters, name) for parameters in both(shape))
    assert np.linalg.norm(exact) > 0
    assert np.linalg.norm(by_hand - exact) <= 1e-10 * np.linalg.norm(exact)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_is_the_finite_difference(shape):
    problem, eps = Problem(*shape), 1e-5
    differences = [
        (problem.loss(problem.flat + step) - problem.loss(problem.flat - step)) / (2 * eps)
        for step in eps * np.eye(problem.flat.size)
    ]
    assert problem.gradient() == pytest.approx(np.array(differences), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("direction", range(5))
def test_projection_of_the_full_size_gradient(direction):
    problem = Problem(20, 8, 128, 27)
    v = np.random.default_rng(direction).standard_normal(problem.flat.size)
    along = problem.derivative(v)
    assert abs(v @ problem.gradient() - along) <= 1e-10 * abs(along)


def test_single_precision_gradient_is_the_double_one_rounded():
    problem = Problem(20, 8, 128, 27)
    exact = problem.gradient()
    difference = problem.gradient(np.float32) - exact
    assert np.linalg.norm(difference) <= 1e-5 * np.linalg.norm(exact)
