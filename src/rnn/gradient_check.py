"""Proof that the hand-derived gradients are right: complex-step differentiation.

    dL/dw = Im L(w + i eps) / eps + O(eps^2)

No difference of nearly equal numbers is taken, so eps can be 1e-30 and the result is exact to the last
digits of a double: Squire and Trapp (1998), "Using complex variables to estimate derivatives of real
functions". The forward pass and the loss run on complex numbers for it, unchanged.
"""

from dataclasses import dataclass

import numpy as np

from src.rnn.loss import cross_entropy
from src.rnn.network import Buffers, Ids, dropout_masks, forward, loss_and_gradient, zero_state
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten

EPS = 1e-30


@dataclass(frozen=True)
class Case:
    """A network in double precision at a random point with a random batch: everything a loss needs.

    flat (n,). state (L, S, B, H): not zero. masks: dropout's, fixed, or None.
    """

    architecture: RNNConfig
    params: Array
    ids: Ids
    targets: Ids
    state: Array
    masks: Array | None

    @classmethod
    def random(
        cls, architecture: RNNConfig, steps: int, batch: int, dropout: float, rng: np.random.Generator
    ) -> "Case":
        shape = (steps, batch)
        return cls(
            architecture=architecture,
            params=rng.normal(0.0, 0.5, architecture.size()),
            ids=rng.integers(architecture.vocab, size=shape),
            targets=rng.integers(architecture.vocab, size=shape),
            state=rng.normal(0.0, 0.5, zero_state(architecture, batch).shape),
            masks=dropout_masks(architecture, steps, batch, dropout, rng, np.float64) if dropout else None,
        )

    def loss(self, params: Array) -> Array:
        """The loss at other parameters, real or complex."""
        steps, batch = self.ids.shape
        buffers = Buffers.allocate(self.architecture, steps, batch, params.dtype)
        buffers.set_state(self.state)
        z = forward(unflatten(self.architecture, params), self.ids, buffers, self.masks)
        return cross_entropy(z, self.targets.reshape(-1))

    def gradient(self) -> Array:
        """By backpropagation: what is to be proved."""
        steps, batch = self.ids.shape
        buffers = Buffers.allocate(self.architecture, steps, batch, np.float64, training=True)
        buffers.set_state(self.state)
        gradient = np.full_like(self.params, np.nan)  # a part that `backward` does not write stays NaN
        p, g = unflatten(self.architecture, self.params), unflatten(self.architecture, gradient)
        loss_and_gradient(p, g, self.ids, self.targets, buffers, self.masks)
        return gradient

    def complex_step(self) -> Array:
        """By complex steps, one parameter after the other."""
        derivative = np.empty_like(self.params)
        moved = self.params.astype(np.complex128)
        for k in range(self.params.size):
            moved[k] += EPS * 1j
            derivative[k] = self.loss(moved).imag / EPS
            moved[k] = self.params[k]
        return derivative


def max_relative_error(architecture: RNNConfig, gradient: Array, expected: Array) -> tuple[str, float]:
    """Return the parameter with the largest relative error ||gradient - expected|| / ||expected||, and it."""
    views, errors = named_views(architecture, expected), {}
    for name, part in named_views(architecture, gradient).items():
        norm = max(float(np.linalg.norm(views[name])), 1e-300)
        errors[name] = float(np.linalg.norm(part - views[name]) / norm)
    name = max(errors, key=errors.__getitem__)
    return name, errors[name]
