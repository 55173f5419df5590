"""Proof that the hand-derived gradients are correct: complex-step differentiation.

    dL/dw = Im L(w + i eps) / eps + O(eps^2)

No nearly equal numbers are subtracted, so eps can be 1e-30, and the result is exact to the last digits of a
double: Squire and Trapp (1998), "Using complex variables to estimate derivatives of real functions". For this
check the forward pass and the loss are computed with complex numbers, by the same code.
"""

from dataclasses import dataclass

import numpy as np

from src.rnn.loss import cross_entropy
from src.rnn.network import Buffers, Ids, dropout_masks, forward, loss_and_gradient, zero_state
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten

EPS = 1e-30


@dataclass(frozen=True)
class Case:
    """A network in double precision at a random point, and a random batch: all that determines a loss.

    Attributes:
        architecture: Sizes of the network.
        params: Flat vector of the parameters, float64, shape (n,).
        ids: Input ids, int64, shape (T, B).
        targets: Target ids, int64, shape (T, B).
        state: Initial state, float64, shape (L, S, B, H), not zero.
        masks: Fixed dropout masks, float64, shape (L-1, T, B, H); None without dropout.
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
        """Draw a case.

        Args:
            architecture: Sizes of the network.
            steps: Number of time steps T.
            batch: Batch size B.
            dropout: Probability with which a unit is dropped, in [0, 1); 0 for no masks.
            rng: Source of the randomness.

        Returns:
            The case; its parameters and initial state are normally distributed with standard deviation 0.5.
        """
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
        """Compute the loss at other parameters.

        Args:
            params: Flat vector of parameters, float64 or complex128, shape (n,).

        Returns:
            Mean loss in nats per character, a scalar array of the dtype of `params`.
        """
        steps, batch = self.ids.shape
        buffers = Buffers.allocate(self.architecture, steps, batch, params.dtype)
        buffers.set_state(self.state)
        z = forward(unflatten(self.architecture, params), self.ids, buffers, self.masks)
        return cross_entropy(z, self.targets.reshape(-1))

    def gradient(self) -> Array:
        """Compute the gradient of the loss by backpropagation, the result that is to be proved.

        Returns:
            Flat vector dL/dw, float64, shape (n,). A part that the backward pass does not write is NaN.
        """
        steps, batch = self.ids.shape
        buffers = Buffers.allocate(self.architecture, steps, batch, np.float64, training=True)
        buffers.set_state(self.state)
        gradient = np.full_like(self.params, np.nan)  # a part that `backward` does not write stays NaN
        p, g = unflatten(self.architecture, self.params), unflatten(self.architecture, gradient)
        loss_and_gradient(p, g, self.ids, self.targets, buffers, self.masks)
        return gradient

    def complex_step(self) -> Array:
        """Compute the gradient of the loss by complex steps, one parameter after the other.

        Returns:
            Flat vector dL/dw, float64, shape (n,).
        """
        derivative = np.empty_like(self.params)
        moved = self.params.astype(np.complex128)
        for k in range(self.params.size):
            moved[k] += EPS * 1j
            derivative[k] = self.loss(moved).imag / EPS
            moved[k] = self.params[k]
        return derivative


def max_relative_error(architecture: RNNConfig, gradient: Array, expected: Array) -> tuple[str, float]:
    """Find the parameter array with the largest relative error ||gradient - expected|| / ||expected||.

    Args:
        architecture: Sizes of the network.
        gradient: Flat vector that is checked, shape (n,).
        expected: Flat vector of the correct values, shape (n,).

    Returns:
        Name of the parameter array, as in `RNNConfig.shapes`, and its relative error.
    """
    views, errors = named_views(architecture, expected), {}
    for name, part in named_views(architecture, gradient).items():
        norm = max(float(np.linalg.norm(views[name])), 1e-300)
        errors[name] = float(np.linalg.norm(part - views[name]) / norm)
    name = max(errors, key=errors.__getitem__)
    return name, errors[name]
