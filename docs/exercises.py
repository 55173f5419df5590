"""The exercises of the four pages: replace `raise NotImplementedError`, then check the function.

    python -m docs.check lstm_backward      (or several names, or: all)

Keep the names of the functions and of their arguments, and the order of the results. The arrays have the type
float64; do not change an argument in place. The sizes: B sequences, D inputs, H hidden units, V characters.
docs/solutions.md has the answers.
"""

from typing import Any

import numpy as np  # noqa: F401 (the answers need it)
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax_cross_entropy(logits: Array, targets: Array) -> tuple[Array, float]:
    """Compute the probabilities and the loss of B predictions (from-scratch.md, section 5).

    Args:
        logits: z, shape (B, V). They can be as large as 1000.
        targets: Ids of the correct characters, integers, shape (B,).

    Returns:
        probabilities: softmax of each row of the logits, shape (B, V).
        loss: Mean of -ln p[target] over the B predictions, a number in nats.
    """
    raise NotImplementedError


def cross_entropy_backward(probabilities: Array, targets: Array) -> Array:
    """Compute the gradient of the mean loss of B predictions by the logits (backpropagation.md, section 1).

    Args:
        probabilities: softmax of the logits, shape (B, V).
        targets: Ids of the correct characters, integers, shape (B,).

    Returns:
        d_logits: dz, shape (B, V).
    """
    raise NotImplementedError


def rnn_backward(
    dh: Array, x: Array, h_prev: Array, h: Array, wx: Array, wh: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Backpropagate one time step of h = tanh(x wx + h_prev wh + b) (backpropagation.md, sections 3 and 4).

    Args:
        dh: Gradient by h from all uses of h: the logits and the next time step, shape (B, H).
        x: Input, shape (B, D).
        h_prev: Hidden state before this time step, shape (B, H).
        h: Hidden state after this time step, shape (B, H).
        wx: Input weights, shape (D, H).
        wh: Recurrent weights, shape (H, H).

    Returns:
        dx: Gradient by x, shape (B, D).
        dh_prev: Gradient by h_prev, shape (B, H).
        dwx, dwh, db: What this time step adds to the gradients; the shapes of wx, wh and (H,).
    """
    raise NotImplementedError


def clip_norm(g: Array, limit: float) -> Array:
    """Clip a gradient by its norm (training-and-sampling.md, section 2).

    Args:
        g: Gradient, shape (n,).
        limit: Largest allowed norm.

    Returns:
        clipped: Gradient with the same direction and a norm of at most `limit`, shape (n,).
    """
    raise NotImplementedError


def lstm_backward(
    dh: Array, dc: Array, x: Array, h_prev: Array, c_prev: Array,
    o: Array, i: Array, f: Array, g: Array, c: Array, wx: Array, wh: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:  # fmt: skip
    """Backpropagate one time step of the LSTM (gated-cells.md, section 4).

    Args:
        dh: Gradient by h from all uses of h, shape (B, H).
        dc: Gradient by c from the next time step, shape (B, H). At the last time step it is zero.
        x: Input, shape (B, D).
        h_prev: Hidden state before this time step, shape (B, H).
        c_prev: Cell state before this time step, shape (B, H).
        o: Output gate, shape (B, H).
        i: Input gate, shape (B, H).
        f: Forget gate, shape (B, H).
        g: Candidate, shape (B, H).
        c: Cell state after this time step, shape (B, H).
        wx: Input weights of the gates in the order o, i, f, g, shape (4, D, H).
        wh: Recurrent weights in the same order, shape (4, H, H).

    Returns:
        dx: Gradient by x, shape (B, D).
        dh_prev: Gradient by h_prev, shape (B, H).
        dc_prev: Gradient by c_prev, shape (B, H).
        dwx, dwh, db: What this time step adds to the gradients; the shapes of wx, wh and (4, H).
    """
    raise NotImplementedError


def sample_token(logits: Array, temperature: float, uniform: float) -> int:
    """Draw a character from softmax(logits / temperature) (training-and-sampling.md, section 6).

    Args:
        logits: z, shape (V,).
        temperature: Divisor of the logits; 0 takes the most likely character.
        uniform: Random number u, 0 <= u < 1.

    Returns:
        id: The first character whose cumulative probability is above u.
    """
    raise NotImplementedError
