"""Error bounds of a network's logits, states, loss and gradient, by running_error.py.

Two computations differ by at most twice the bound. In a chaotic network the bound grows too fast to compare
anything: `Bounds.of` rejects such a network.
"""

from dataclasses import dataclass

import numpy as np

from src.rnn.network import Ids, zero_state
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten
from tests.rounding import DOUBLE, gamma
from tests.running_error import Arithmetic, Number, norm

Weights = tuple[list[Number], list[Number], list[Number], Number]


def step(
    m: Arithmetic, kind: tuple[str, str], layer: Weights, x: Number, state: list[Number]
) -> list[Number]:
    wx, wh, b, bh = layer
    h = state[0]
    inputs = [m.plus(m.product(x, w), bias) for w, bias in zip(wx, b, strict=True)]
    sums = [m.product(h, w) for w in wh]
    if kind[0] == "rnn":
        a = m.plus(inputs[0], sums[0])
        return [m.tanh(a) if kind[1] == "tanh" else m.relu(a)]
    if kind[0] == "gru":
        r, z = (m.sigmoid(m.plus(inputs[k], sums[k])) for k in (0, 1))
        n = m.tanh(m.plus(inputs[2], m.times(r, m.plus(sums[2], bh))))
        return [m.mixed(z, h, n)]
    o, i, f = (m.sigmoid(m.plus(inputs[k], sums[k])) for k in (0, 1, 2))
    g = m.tanh(m.plus(inputs[3], sums[3]))
    input_term = m.times(i, g)
    c = m.plus(input_term, m.times(f, state[1], addend=input_term.value))
    return [m.times(o, m.tanh(c)), c]


@dataclass(frozen=True)
class Bounds:
    """Error bounds in the 2-norm of each array, and so of each of its numbers.

    Attributes:
        logits: Logits (T, B, V).
        state: The last state (L, S, B, H).
        activation: The largest bound of any state part (B, H).
        nats: One prediction, by step (T,).
        probability: Probabilities of a prediction.
        loss: The mean loss.
        gradient: The gradient of each parameter.
        states: dL/d(state) by [layer, part, step].
    """

    logits: float
    state: float
    activation: float
    nats: Array
    probability: float
    loss: float
    gradient: dict[str, float]
    states: Array

    @property
    def gradient_norm(self) -> float:
        return float(np.linalg.norm(list(self.gradient.values())))

    @classmethod
    def of(
        cls,
        architecture: RNNConfig,
        params: Array,
        ids: Ids,
        targets: Ids | None = None,
        state: Array | None = None,
        masks: Array | None = None,
        unit: float = DOUBLE,
        state_error: float = 0.0,
        last_only: bool = False,
    ) -> "Bounds":
        """Compute the bounds of a pass over ids (T, B), and of its gradient if targets (T, B) are given.

        Args:
            unit: Unit roundoff of the computation.
            state_error: Error of the initial state.
            last_only: The loss is the sum of the losses of the last step.
        """
        a, (steps, batch) = architecture, ids.shape
        params = params.astype(np.float64)
        m = Arithmetic(unit, steps * batch + a.hidden + a.vocab + 4)
        p = unflatten(a, params)
        layers: list[Weights] = []
        for gates in p.layers:
            wx, wh, b = ([Number(array, 0) for array in arrays] for arrays in gates[:3])
            layers.append((wx, wh, b, Number(gates.bh, 0)))
        wy, by = Number(p.wy, 0), Number(p.by, 0)
        begin = zero_state(a, batch, np.float64) if state is None else state.astype(np.float64)
        states_now = [[Number(part, state_error) for part in parts] for parts in begin]
        onehot, logits, all_states = np.eye(a.vocab), [], []
        for t in range(steps):
            x = Number(onehot[ids[t]], 0)
            for k, layer in enumerate(layers):
                states_now[k] = step(m, (a.cell, a.activation), layer, x, states_now[k])
                x = states_now[k][0]
                if masks is not None and k < len(masks):
                    x = m.times(x, Number(masks[k, t].astype(np.float64), 0))
            all_states.append([list(parts) for parts in states_now])
            logits.append(m.plus(m.product(x, wy), by))
        losses = [softmax(m, z) for z in logits]
        gradient, states = {}, np.zeros((a.layers, a.states, steps))
        if targets is not None:
            of = 1 if last_only else steps * batch
            for t in range(steps - 1, steps) if last_only else range(steps):
                shares, error, _ = losses[t]
                logits[t].add_gradient((shares - onehot[targets[t]]) / of, error / of)
            m.backward()
            gradient = gradient_errors(a, layers, wy, by)
            for t, k, s in np.ndindex(steps, a.layers, a.states):
                states[k, s, t] = all_states[t][k][s].d_error
        nats = np.array([of_one for *_, of_one in losses])
        magnitude = 2 * max(float(abs(z.value).max()) for z in logits) + np.log(a.vocab)
        found = cls(
            logits=norm(np.array([z.error for z in logits])),
            state=norm(np.array([part.error for parts in states_now for part in parts])),
            activation=max(part.error for parts in all_states for layer in parts for part in layer),
            nats=nats,
            probability=max(error for _, error, _ in losses),
            loss=float(nats.mean()) + gamma(steps * batch + 2, unit) * magnitude,
            gradient=gradient,
            states=states,
        )
        size = norm(np.array([norm(z.value) for z in logits]))
        assert state_error or found.logits < unit ** (1 / 3) * size, "the network is chaotic"
        return found


def softmax(m: Arithmetic, z: Number) -> tuple[Array, float, float]:
    """Return the probabilities (B, V) of one step, their error, and the error in nats of one prediction."""
    below = z.value - z.value.max(axis=1, keepdims=True)
    shares = np.exp(below)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    own = m.round * (1 + abs(below)) + gamma(z.value.shape[1] + 2, m.unit)
    nats = 2**0.5 * z.error + float(own.max() + m.round * (abs(below).max() + np.log(total).max()))
    return shares, z.error / 2 + norm(shares * own) + m.round, nats


def gradient_errors(
    architecture: RNNConfig, layers: list[Weights], wy: Number, by: Number
) -> dict[str, float]:
    errors = {"wy": wy.d_error, "by": by.d_error}
    for k, (wx, wh, b, bh) in enumerate(layers):
        suffix = "" if k == 0 else str(k + 1)
        for name, numbers in (("wx", wx), ("wh", wh), ("b", b), ("bh", [bh])):
            errors[name + suffix] = norm(np.array([number.d_error for number in numbers]))
    return {name: errors[name] for name in named_views(architecture, np.zeros(architecture.size()))}
