"""Gradient flow and saturation during training, measured on one small fixed batch of the validation text.

Nothing here draws a random number or writes to what training uses: a run has the same bits with and without.
"""

import json
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from src.common.callback import Callback, Logger
from src.common.files import read_json, write_text
from src.common.job_result import GRADIENTS, GradientFile
from src.config.schema import Config
from src.data.corpus import Corpus
from src.rnn.network import Buffers, Ids
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten
from src.rnn.state_gradients import (
    SQUARINGS,
    norm_by_distance,
    recurrent_matrices,
    singular_values,
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

DESCRIPTION = (
    "norms[layer][state][i]: the norm, averaged over windows, of the gradient of the loss (nats) of a "
    "window's last character with respect to the hidden state distances[i] characters before it; state 1, of "
    "the LSTM, is the cell state. initial_singular_values[layer]: of the recurrent matrix before the first "
    "step."
)
DISTANCES = 100  # points of a curve; in longer windows they are denser near the loss


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
        # In multiplications: a step is forward, and backward to states and to weights; a measurement is
        # forward, backward to states, and each layer's spectral radius.
        a = architecture
        per_character = (2 * a.layers - 1) * a.gates * a.hidden**2 + a.hidden * a.vocab
        radii = a.layers * SQUARINGS * a.hidden**3
        measurement = 2 * steps * windows * per_character + radii
        ratio = measurement / (3 * steps * config.batch_size * per_character)
        self.every = config.eval_every * ceil(MIN_INTERVAL * max(1, ratio) / config.eval_every)

    def should_measure(self, step: int) -> bool:
        return step % self.every == 0

    def measure(self, params: Array) -> GradientFlow:
        return measure(params, self.ids, self.targets, self.buffers)


class DiagnosticsCallback(Callback):
    """Measure gradient flow and saturation on fixed windows of the validation split.

    The curves are in a file of the run's directory from the first measurement on; a resumed run continues
    that file.

    Args:
        logger: Where metrics go.
        folder: The run's directory.
    """

    def __init__(self, logger: Logger, folder: Path) -> None:
        self.logger, self.file = logger, folder / GRADIENTS
        self.records: dict[int, str] = {}  # step to its line of the file
        self.initial_singular_values: list[list[float | None]] | None = None
        if self.file.exists():
            record = read_json(self.file, GradientFile)
            self.records = {row["step"]: json.dumps(row) for row in record["steps"]}
            self.initial_singular_values = record["initial_singular_values"]

    def on_train_start(self, trainer: Any) -> None:
        """Measure the initial weights."""
        self.monitor = GradientFlowMonitor(trainer.config, trainer.architecture, trainer.corpus)
        self.distances = select_distances(trainer.config.seq_len)
        if trainer.step == 0:
            matrices = recurrent_matrices(unflatten(trainer.architecture, trainer.params))
            self.initial_singular_values = [
                [round_for_json(v) for v in singular_values(w).tolist()] for w in matrices
            ]
            self.logger.log_metrics(self.measure(0, trainer.params), 0)

    def on_validation_end(self, trainer: Any, val_loss: float) -> None:
        """Measure, unless that would be so often that it slows training down."""
        if self.monitor.should_measure(trainer.step):
            self.logger.log_metrics(self.measure(trainer.step, trainer.eval_params), trainer.step)

    def on_train_end(self, trainer: Any, result: Any) -> None:
        """Measure the best weights: like val/loss, the last point of each curve is theirs."""
        self.logger.log_metrics(self.measure(result.best_step, result.params), result.steps + 1)
        self.logger.log_artifact(self.file)

    def measure(self, step: int, params: Array) -> dict[str, float]:
        """Measure the weights `params` (n,) of a step; write the file and return the metrics."""
        flow = self.monitor.measure(params)
        norms = [
            [[round_for_json(n) for n in s] for s in layer]
            for layer in flow.gradients[..., self.distances].tolist()
        ]
        self.records[step] = json.dumps({"step": step, "norms": norms})
        head: dict[str, Any] = {
            "about": DESCRIPTION,
            "distances": self.distances,
            "initial_singular_values": self.initial_singular_values,
        }
        steps = ",\n".join(line for _, line in sorted(self.records.items()))
        write_text(self.file, f'{json.dumps(head)[:-1]}, "steps": [\n{steps}\n]}}\n')
        return flow.metrics()


def select_distances(steps: int) -> list[int]:
    """Return 0 to steps - 1, all of them or at most DISTANCES."""
    if steps <= DISTANCES:
        return list(range(steps))
    return sorted({round(d) - 1 for d in np.geomspace(1, steps, DISTANCES).tolist()})


def round_for_json(value: float) -> float | None:
    """Round to six digits; None for a value that is not finite, which JSON cannot hold."""
    return float(f"{value:.6g}") if isfinite(value) else None


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
