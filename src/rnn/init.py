"""How the parameters begin."""

from typing import Any

import numpy as np

from src.rnn.parameters import Array, RNNConfig, unflatten

SCHEMES = ("uniform", "orthogonal", "identity")


def initialize(
    architecture: RNNConfig, scheme: str, rng: np.random.Generator, dtype: Any = np.float32
) -> Array:
    """A fresh flat vector of parameters.

    `uniform`: every weight from U(-1/sqrt(H), 1/sqrt(H)), as torch.nn.RNN does; the plain choice.
    `orthogonal`: the same, but each gate's `wh` a random orthogonal matrix, which keeps the length of
    the hidden state and of the gradient that flows back through it (Saxe, McClelland and Ganguli 2014,
    "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks").
    `identity`: `wh` the identity, so that a ReLU network starts by remembering everything (Le, Jaitly
    and Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units"); for
    cell=rnn.

    Biases are zero, but for the LSTM's forget gate, 1: it starts by remembering (Jozefowicz, Zaremba and
    Sutskever 2015, "An empirical exploration of recurrent network architectures").

    Raises ValueError for another scheme, or `identity` with gates.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"expected the initialization {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "identity" and architecture.cell != "rnn":
        raise ValueError(f"expected cell rnn for the initialization identity, got {architecture.cell}")
    h = architecture.hidden
    bound = 1.0 / np.sqrt(h)
    params = rng.uniform(-bound, bound, architecture.size())
    p = unflatten(architecture, params)
    p.by[:] = 0.0
    for layer in p.layers:
        layer.b[:] = 0.0
        layer.bh[:] = 0.0
        layer.b[[letter in architecture.spec.bias_one_gates for letter in architecture.spec.gates]] = 1.0
        for gate in layer.wh:
            if scheme == "orthogonal":
                gate[:] = orthogonal(h, rng)
            elif scheme == "identity":
                gate[:] = np.eye(h)
    return params.astype(dtype)


def orthogonal(size: int, rng: np.random.Generator) -> Array:
    """A matrix drawn uniformly from the orthogonal group (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    signed: Array = q * np.sign(np.diag(r))
    return signed
