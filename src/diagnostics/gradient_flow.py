"""Gradient flow and saturation during training, measured on one small fixed batch of the validation text.

Nothing here draws a random number or writes to what training uses: a run has the same bits with and without.
"""

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from src.config.schema import Config
from src.data.corpus import Corpus
from src.rnn.network import Buffers, Ids
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten
from src.rnn.state_gradients import (
    SQUARINGS,
    norm_by_distance,
    recurrent_matrices,
    spectral_radius,
    state_gradients,
)

WINDOWS = 32  # of a measurement: enough for a mean over windows by which two can be compared
MIN_WINDOWS = 4
MAX_STATE_ELEMENTS = 2**20  # T B H of its state: long and wide windows are fewer, to bound the memory
# Steps of training for one step's worth of measuring: half a percent, and room for what is slower.
MIN_INTERVAL = 200

# |h| above which a tanh unit passes on less than a fifth of a gradient (1 - 0.9^2), and the values of a gate
# beyond which it counts as open or closed: Karpathy, Johnson and Li (2015), "Visualizing and understanding
# recurrent networks", section 4.3. Why saturation is watched: Glorot and Bengio (2010), "Understanding the
# difficulty of training deep feedforward neural networks", section 3.
SATURATED = 0.9
LOW = 0.1


@dataclass(frozen=True)
class GradientFlow:
    """One measurement.

    Attributes:
        gradients: Mean norm of dL_T/dh (and dL_T/dc) by layer, state and distance to the loss, (L, S, T).
        radii: Spectral radius of each layer's recurrent matrix.
        saturation: Shares by metric name.
    """

    gradients: Array
    radii: list[float]
    saturation: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name, without values that are not finite."""
        named = dict(self.saturation)
        for layer, radius in enumerate(self.radii, 1):
            named[f"diagnostics/spectral_radius{layer if layer > 1 else ''}"] = radius
        for suffix, norms in zip(("", "_c"), self.gradients[-1].tolist(), strict=False):
            if norms[0] > 0:
                named[f"diagnostics/grad_norm_first_over_last{suffix}"] = norms[-1] / norms[0]
        return {name: value for name, value in named.items() if isfinite(value)}


def saturation(architecture: RNNConfig, buffers: Buffers) -> dict[str, float]:
    """Shares over units, steps and windows of what `forward` left.

    tanh: |h| > 0.9. relu: units that are 0 all the time, dead. Gates: above 0.9 or below 0.1, all and each.
    """
    if architecture.activation == "relu":
        dead = [(cache.h[1:] <= 0).all(axis=(0, 1)) for cache in buffers.caches]
        return {"diagnostics/dead_units": float(np.mean(dead))}
    if not architecture.spec.n_sigmoid:
        saturated = [abs(cache.h[1:]) > SATURATED for cache in buffers.caches]
        return {"diagnostics/saturation": float(np.mean(saturated))}
    names = architecture.spec.gates[: architecture.spec.n_sigmoid]
    gates = np.stack([cache.gates[: len(names)] for cache in buffers.caches])
    each = ((gates > SATURATED) | (gates < LOW)).mean(axis=(0, 2, 3, 4))
    named = {f"diagnostics/saturation_{name}": float(share) for name, share in zip(names, each, strict=True)}
    return {"diagnostics/saturation": float(each.mean())} | named


def measure(params: Array, ids: Ids, targets: Ids, buffers: Buffers) -> GradientFlow:
    """Measure gradient flow and saturation of a network that reads from a zero state.

    Args:
        params: The weights, (n,).
        ids: The inputs, (T, B).
        targets: The characters after the last inputs, (B,).
        buffers: Of that shape; overwritten.
    """
    p = unflatten(buffers.architecture, params)
    buffers.reset()
    gradients = norm_by_distance(state_gradients(p, ids, targets, buffers))
    radii = [spectral_radius(w) for w in recurrent_matrices(p)]
    return GradientFlow(gradients, radii, saturation(buffers.architecture, buffers))


class GradientFlowMonitor:
    """Measurements on the same windows throughout, spread over the validation split.

    Attributes:
        every: Steps from one measurement to the next, a multiple of eval_every, so that they cost about a
            hundredth of the training time.
    """

    def __init__(self, config: Config, architecture: RNNConfig, corpus: Corpus) -> None:
        tokens, steps = corpus.split("val"), config.seq_len
        limit = max(MIN_WINDOWS, MAX_STATE_ELEMENTS // (steps * architecture.hidden))
        windows = min(WINDOWS, limit, tokens.size - steps)
        starts = np.linspace(0, tokens.size - steps - 1, windows).astype(np.intp)
        read = tokens[np.arange(steps + 1)[:, None] + starts].astype(np.intp)
        self.ids, self.targets = read[:-1], read[-1]
        self.buffers = Buffers.allocate(architecture, steps, windows)
        training = step_work(architecture, steps, config.batch_size)
        ratio = measurement_work(architecture, steps, windows) / training
        self.every = config.eval_every * ceil(MIN_INTERVAL * max(1, ratio) / config.eval_every)

    def should_measure(self, step: int) -> bool:
        return step % self.every == 0

    def measure(self, params: Array) -> GradientFlow:
        return measure(params, self.ids, self.targets, self.buffers)


def multiplications(architecture: RNNConfig) -> int:
    """Multiplications of one character's forward pass."""
    a = architecture
    return (2 * a.layers - 1) * a.gates * a.hidden**2 + a.hidden * a.vocab


def step_work(architecture: RNNConfig, steps: int, batch: int) -> int:
    """Multiplications of an optimizer step: forward, and backward to states and to weights."""
    return 3 * steps * batch * multiplications(architecture)


def measurement_work(architecture: RNNConfig, steps: int, windows: int) -> int:
    """Multiplications of a measurement: forward, backward to states, and each layer's spectral radius."""
    radii = architecture.layers * SQUARINGS * architecture.hidden**3
    return 2 * steps * windows * multiplications(architecture) + radii


class UpdateRatio:
    """Ratio of the update before an evaluation to the weights: ||dw|| / ||w||.

    In a healthy training some 1e-3: Karpathy's notes to cs231n, "Neural networks part 3", on the ratio of
    updates to weights.
    """

    def __init__(self, config: Config, architecture: RNNConfig, weights: Array) -> None:
        self.every = config.eval_every if config.diagnostics else 0
        self.architecture, self.weights = architecture, weights
        self.previous: Array | None = None
        self.ratios: dict[str, float] = {}

    def on_step_start(self, step: int) -> None:
        """Copy the weights before the update of `step`."""
        due = self.every and step % self.every == 0
        self.previous, self.ratios = self.weights.copy() if due else None, {}

    def on_step_end(self) -> None:
        """Compute the ratios of all parameters as one vector, and of each weight matrix."""
        if self.previous is None:
            return
        update = self.weights - self.previous
        pairs = {"": (update, self.previous)}
        moved = named_views(self.architecture, update)
        for name, w in named_views(self.architecture, self.previous).items():
            if name.startswith("w"):
                pairs[f"_{name}"] = (moved[name], w)
        for suffix, (dw, w) in pairs.items():
            if length := float(np.linalg.norm(w)):
                self.ratios[f"diagnostics/update_ratio{suffix}"] = float(np.linalg.norm(dw)) / length
