"""The network as its equations stand: one time step after the other, no buffers, no optimization.

    x_t = one-hot character, in layer l > 1 the h_t of layer l - 1       logits_t = h_t wy + by

`loss_and_gradient` computes the same loss and gradient as `src.rnn.network.loss_and_gradient`.

Every cell has two functions. `..._forward(p, x, state)` takes the parameters of a layer, its input x_t (B, D)
and the state of time step t - 1; it returns the state of time step t and a cache for the way back.
`..._backward(p, g, cache, d_state)` takes the gradient of the loss by the state of time step t. It adds the
gradient by the parameters to `g`, and returns the gradients by x_t and by the state of time step t - 1.

A batch has B sequences. The gates are the first axis of `wx` (G, D, H), `wh` (G, H, H) and `b` (G, H).
"""

from typing import Any

import numpy as np

from src.rnn.parameters import Array, Layer, RNNConfig, unflatten

State = tuple[Array, ...]  # h, or h and c; each (B, H)


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)), element by element."""
    return 1 / (1 + np.exp(-a))


def rnn_forward(p: Layer, x: Array, state: State) -> tuple[State, Any]:
    """Compute one step of the vanilla RNN, h_t = tanh(x_t wx + h_{t-1} wh + b)."""
    (h_prev,) = state
    h = np.tanh(x @ p.wx[0] + h_prev @ p.wh[0] + p.b[0])
    return (h,), (x, h_prev, h)


def rnn_backward(p: Layer, g: Layer, cache: Any, d_state: State) -> tuple[Array, State]:
    """Backpropagate one step of the vanilla RNN; the derivative of tanh(a) is 1 - tanh(a)^2."""
    x, h_prev, h = cache
    (dh,) = d_state
    da = dh * (1 - h**2)
    g.wx[0] += x.T @ da
    g.wh[0] += h_prev.T @ da
    g.b[0] += da.sum(axis=0)
    return da @ p.wx[0].T, (da @ p.wh[0].T,)


def gru_forward(p: Layer, x: Array, state: State) -> tuple[State, Any]:
    """Compute one step of the GRU: reset gate r, update gate z, candidate n."""
    (h_prev,) = state
    r = sigmoid(x @ p.wx[0] + h_prev @ p.wh[0] + p.b[0])
    z = sigmoid(x @ p.wx[1] + h_prev @ p.wh[1] + p.b[1])
    q = h_prev @ p.wh[2] + p.bh
    n = np.tanh(x @ p.wx[2] + r * q + p.b[2])
    h = (1 - z) * n + z * h_prev
    return (h,), (x, h_prev, r, z, q, n)


def gru_backward(p: Layer, g: Layer, cache: Any, d_state: State) -> tuple[Array, State]:
    """Backpropagate one step of the GRU; the derivative of sigmoid(a) is sigmoid(a) (1 - sigmoid(a))."""
    x, h_prev, r, z, q, n = cache
    (dh,) = d_state
    da_n = dh * (1 - z) * (1 - n**2)
    da_z = dh * (h_prev - n) * z * (1 - z)
    da_r = da_n * q * r * (1 - r)
    dq = da_n * r
    dx, dh_prev = np.zeros_like(x), dh * z
    for k, (da, dr) in enumerate([(da_r, da_r), (da_z, da_z), (da_n, dq)]):  # dr: through h_{t-1} wh
        g.wx[k] += x.T @ da
        g.wh[k] += h_prev.T @ dr
        g.b[k] += da.sum(axis=0)
        dx += da @ p.wx[k].T
        dh_prev += dr @ p.wh[k].T
    g.bh[...] += dq.sum(axis=0)
    return dx, (dh_prev,)


def lstm_forward(p: Layer, x: Array, state: State) -> tuple[State, Any]:
    """Compute one step of the LSTM: output gate o, input gate i, forget gate f, candidate g, cell state c."""
    h_prev, c_prev = state
    o, i, f = (sigmoid(x @ p.wx[k] + h_prev @ p.wh[k] + p.b[k]) for k in range(3))
    g = np.tanh(x @ p.wx[3] + h_prev @ p.wh[3] + p.b[3])
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return (h, c), (x, h_prev, c_prev, o, i, f, g, c)


def lstm_backward(p: Layer, grad: Layer, cache: Any, d_state: State) -> tuple[Array, State]:
    """Backpropagate one step of the LSTM; dc arrives from h_t = o tanh(c_t) and from the next time step."""
    x, h_prev, c_prev, o, i, f, g, c = cache
    dh, dc = d_state
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    da_o = dh * np.tanh(c) * o * (1 - o)
    da_i = dc * g * i * (1 - i)
    da_f = dc * c_prev * f * (1 - f)
    da_g = dc * i * (1 - g**2)
    dx, dh_prev = np.zeros_like(x), np.zeros_like(dh)
    for k, da in enumerate([da_o, da_i, da_f, da_g]):
        grad.wx[k] += x.T @ da
        grad.wh[k] += h_prev.T @ da
        grad.b[k] += da.sum(axis=0)
        dx += da @ p.wx[k].T
        dh_prev += da @ p.wh[k].T
    return dx, (dh_prev, dc * f)


CELLS = {
    "rnn": (rnn_forward, rnn_backward),
    "gru": (gru_forward, gru_backward),
    "lstm": (lstm_forward, lstm_backward),
}


def softmax(logits: Array) -> Array:
    """Return the probabilities of logits (B, V); the largest logit is subtracted against overflow."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = e / e.sum(axis=-1, keepdims=True)
    return probabilities


def loss_and_gradient(
    architecture: RNNConfig, params: Array, ids: Array, targets: Array, state: Array
) -> tuple[float, Array]:
    """Compute the mean cross-entropy of a batch, and its gradient by backpropagation through time.

    Args:
        architecture: Sizes of the network; the cell is `rnn` (with tanh), `gru` or `lstm`.
        params: Flat vector of the parameters, shape (n,).
        ids: Input ids, shape (T, B).
        targets: Ids of the next characters, shape (T, B).
        state: Initial state of each layer, shape (L, S, B, H).

    Returns:
        The loss in nats per character, and the gradient, a flat vector like `params`.
    """
    forward, backward = CELLS[architecture.cell]
    gradient = np.zeros_like(params)
    p, g = unflatten(architecture, params), unflatten(architecture, gradient)
    states: list[State] = [tuple(layer_state) for layer_state in state]
    one_hot = np.eye(architecture.vocab, dtype=params.dtype)
    loss, history = 0.0, []

    for ids_t, targets_t in zip(ids, targets, strict=True):  # forward
        x, caches = one_hot[ids_t], []
        for layer, parameters in enumerate(p.layers):
            states[layer], cache = forward(parameters, x, states[layer])
            caches.append(cache)
            x = states[layer][0]
        probabilities = softmax(x @ p.wy + p.by)
        loss -= np.log(probabilities[np.arange(len(ids_t)), targets_t]).sum() / ids.size
        history.append((caches, x, probabilities))

    d_states: list[State] = [tuple(np.zeros_like(array) for array in layer_state) for layer_state in states]
    for targets_t, (caches, h, probabilities) in zip(targets[::-1], history[::-1], strict=True):  # backward
        d_logits = (probabilities - one_hot[targets_t]) / ids.size
        g.wy[...] += h.T @ d_logits
        g.by[...] += d_logits.sum(axis=0)
        dx = d_logits @ p.wy.T
        for layer in reversed(range(architecture.layers)):
            dh, *rest = d_states[layer]  # from time step t + 1; dx comes from the layer above
            dx, d_states[layer] = backward(p.layers[layer], g.layers[layer], caches[layer], (dh + dx, *rest))
    return float(loss), gradient
