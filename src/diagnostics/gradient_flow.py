"""Gradient flow and saturation during training, measured on one small fixed batch of the validation split.

The measurements draw no random numbers and do not write to anything that the training uses, so a run with
diagnostics has the same bits as a run without.
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
from src.rnn import state_gradients
from src.rnn.network import Buffers, Ids
from src.rnn.parameters import Array, RNNConfig, named_views, unflatten

WINDOWS = 32  # windows of a measurement: enough that the means of two measurements are comparable
MIN_WINDOWS = 4
MAX_STATE_ELEMENTS = 2**20  # T B H of the hidden states: a large T H gets fewer windows, to limit the memory
# Training steps for a measurement that costs as much as one step: 0.5% of the multiplications, which
# leaves room for its slower operations.
MIN_INTERVAL = 200

# |h| above which a tanh unit passes on less than a fifth of a gradient (1 - 0.9^2), and the values above and
# below which a gate counts as open or closed: Karpathy, Johnson and Li (2015), "Visualizing and understanding
# recurrent networks", section 4.3. Why saturation is measured: Glorot and Bengio (2010), "Understanding the
# difficulty of training deep feedforward neural networks", section 3.
SATURATED = 0.9
LOW = 0.1

DESCRIPTION = (
    "norms[layer][state][i]: the norm, averaged over windows, of the gradient of the loss (nats) of a "
    "window's last character with respect to the hidden state distances[i] characters before it; state 1, of "
    "the LSTM, is the cell state. initial_singular_values[layer]: of the recurrent matrix before the first "
    "step."
)
DISTANCES = 100  # largest number of points of a curve; in longer windows they are denser near the loss


@dataclass(frozen=True)
class GradientFlow:
    """One measurement of gradient flow and saturation.

    Attributes:
        gradients: Norm of dL_T/dh (and dL_T/dc), loss in nats, averaged over the windows, by layer, state
            and distance to the loss, float64, shape (L, S, T).
        radii: Spectral radius of the recurrent matrix of each layer.
        saturation: Shares between 0 and 1, by metric name.
    """

    gradients: Array
    radii: list[float]
    saturation: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name, without values that are not finite.

        Returns:
            The shares of `saturation`, diagnostics/spectral_radius of each layer, and
            diagnostics/grad_norm_first_over_last of the top layer: the norm at the first character of the
            window divided by the norm at the last. The suffix `_c` is for the cell state of the LSTM.
        """
        named = dict(self.saturation)
        for layer, radius in enumerate(self.radii, 1):
            named[f"diagnostics/spectral_radius{layer if layer > 1 else ''}"] = radius
        for suffix, norms in zip(("", "_c"), self.gradients[-1].tolist(), strict=False):
            if norms[0] > 0:
                named[f"diagnostics/grad_norm_first_over_last{suffix}"] = norms[-1] / norms[0]
        return {name: value for name, value in named.items() if isfinite(value)}


def saturation(architecture: RNNConfig, buffers: Buffers) -> dict[str, float]:
    """Compute the shares of saturated values in the activation caches, over units, time steps and windows.

    A tanh unit is saturated if |h| > 0.9. A relu unit is dead if it is 0 at all time steps of all windows. A
    gate is saturated above 0.9 or below 0.1.

    Args:
        architecture: Sizes and cell of the network.
        buffers: Buffers after a forward pass.

    Returns:
        Shares between 0 and 1 by metric name: diagnostics/dead_units for relu, else diagnostics/saturation;
        for gated cells also one metric per gate, for example diagnostics/saturation_f.
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
        params: Weights, shape (n,).
        ids: Token ids of the inputs, shape (T, B).
        targets: Token ids of the characters after the last inputs, shape (B,).
        buffers: Buffers of the same T and B; overwritten.

    Returns:
        Mean gradient norms, spectral radii and saturation.
    """
    p = unflatten(buffers.architecture, params)
    buffers.reset()
    gradients = state_gradients.norm_by_distance(state_gradients.state_gradients(p, ids, targets, buffers))
    radii = [state_gradients.spectral_radius(w) for w in state_gradients.recurrent_matrices(p)]
    return GradientFlow(gradients, radii, saturation(buffers.architecture, buffers))


class GradientFlowMonitor:
    """Measurements on the same windows throughout a training, spread over the validation split.

    Args:
        config: Validated config of the run; `seq_len`, `batch_size` and `eval_every` are used.
        architecture: Sizes and cell of the network.
        corpus: Corpus whose validation split has the windows.

    Attributes:
        every: Steps from one measurement to the next, a multiple of `eval_every`, chosen so that the
            measurements take about a hundredth of the training time.
        ids: Token ids of the windows, shape (T, B).
        targets: Token ids of the characters after the windows, shape (B,).
    """

    def __init__(self, config: Config, architecture: RNNConfig, corpus: Corpus) -> None:
        tokens, steps = corpus.split("val"), config.seq_len
        limit = max(MIN_WINDOWS, MAX_STATE_ELEMENTS // (steps * architecture.hidden))
        windows = min(WINDOWS, limit, tokens.size - steps)
        starts = np.linspace(0, tokens.size - steps - 1, windows).astype(np.intp)
        read = tokens[np.arange(steps + 1)[:, None] + starts].astype(np.intp)
        self.ids, self.targets = read[:-1], read[-1]
        self.buffers = Buffers.allocate(architecture, steps, windows)
        # Number of multiplications. A training step: forward, backward to the states, backward to the
        # weights. A measurement: forward, backward to the states, spectral radius of each layer.
        a = architecture
        per_character = (2 * a.layers - 1) * a.gates * a.hidden**2 + a.hidden * a.vocab
        radii = a.layers * state_gradients.SQUARINGS * a.hidden**3
        measurement = 2 * steps * windows * per_character + radii
        ratio = measurement / (3 * steps * config.batch_size * per_character)
        self.every = config.eval_every * ceil(MIN_INTERVAL * max(1, ratio) / config.eval_every)

    def measure(self, params: Array) -> GradientFlow:
        """Measure gradient flow and saturation on the fixed windows.

        Args:
            params: Weights, shape (n,).

        Returns:
            Mean gradient norms, spectral radii and saturation.
        """
        return measure(params, self.ids, self.targets, self.buffers)


class DiagnosticsCallback(Callback):
    """Callback that measures gradient flow and saturation on fixed windows of the validation split.

    The curves are written to gradient_through_time.json in the run directory at each measurement; a resumed
    run continues that file.

    Args:
        logger: Destination of the metrics, and of the file at the end.
        folder: Run directory.

    Raises:
        UserError: The file of a resumed run is damaged.
    """

    def __init__(self, logger: Logger, folder: Path) -> None:
        self.logger, self.file = logger, folder / GRADIENTS
        self.records: dict[int, str] = {}  # line of the file, by step
        self.initial_singular_values: list[list[float | None]] | None = None
        if self.file.exists():
            record = read_json(self.file, GradientFile)
            self.records = {row["step"]: json.dumps(row) for row in record["steps"]}
            self.initial_singular_values = record["initial_singular_values"]

    def on_train_start(self, trainer: Any) -> None:
        """Choose the windows and measure the initial weights; a resumed run does not measure them again.

        Args:
            trainer: Trainer before its first step.
        """
        self.monitor = GradientFlowMonitor(trainer.config, trainer.architecture, trainer.corpus)
        self.distances = select_distances(trainer.config.seq_len)
        if trainer.step == 0:
            matrices = state_gradients.recurrent_matrices(unflatten(trainer.architecture, trainer.params))
            self.initial_singular_values = [
                [_round_for_json(v) for v in state_gradients.singular_values(w).tolist()] for w in matrices
            ]
            self.logger.log_metrics(self.measure(0, trainer.params), 0)

    def on_validation_end(self, trainer: Any, val_loss: float) -> None:
        """Measure the validated weights, unless that would slow down the training.

        Args:
            trainer: Trainer after a validation.
            val_loss: Validation loss in nats; not used.
        """
        if trainer.step % self.monitor.every == 0:
            self.logger.log_metrics(self.measure(trainer.step, trainer.eval_params), trainer.step)

    def on_train_end(self, trainer: Any, result: Any) -> None:
        """Measure the best weights and log the file.

        The last point of each curve belongs to the best weights, as for val/loss.

        Args:
            trainer: Trainer at its end; not used.
            result: TrainResult with the best weights, their step and the number of steps.
        """
        self.logger.log_metrics(self.measure(result.best_step, result.params), result.steps + 1)
        self.logger.log_artifact(self.file)

    def measure(self, step: int, params: Array) -> dict[str, float]:
        """Measure weights and write all measurements so far to the file.

        Args:
            step: Optimizer step of the weights; an earlier record of the same step is replaced.
            params: Weights, shape (n,).

        Returns:
            The metrics by name.
        """
        flow = self.monitor.measure(params)
        norms = [
            [[_round_for_json(n) for n in s] for s in layer]
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
    """Select the distances to the loss at which a curve has points.

    Args:
        steps: Time steps T of a window.

    Returns:
        Ascending distances from 0 to T - 1 in characters: all of them, or at most 100 that are denser near 0.
    """
    if steps <= DISTANCES:
        return list(range(steps))
    return sorted({round(d) - 1 for d in np.geomspace(1, steps, DISTANCES).tolist()})


def _round_for_json(value: float) -> float | None:
    """Return a number with six significant digits; None if it is not finite: JSON has no such numbers."""
    return float(f"{value:.6g}") if isfinite(value) else None


class UpdateRatio:
    """Ratio of the last update before an evaluation to the weights: ||dw|| / ||w||.

    It is about 1e-3 in a healthy training: Karpathy's notes to cs231n, "Neural networks part 3", on the ratio
    of updates to weights.

    Args:
        config: Validated config of the run; without `diagnostics` nothing is measured.
        architecture: Sizes and cell of the network.
        weights: Weights, shape (n,), which the optimizer updates in place.

    Attributes:
        ratios: Ratios of the last step by metric name; empty if that step was not measured.
    """

    def __init__(self, config: Config, architecture: RNNConfig, weights: Array) -> None:
        self.every = config.eval_every if config.diagnostics else 0
        self.architecture, self.weights = architecture, weights
        self.previous: Array | None = None
        self.ratios: dict[str, float] = {}

    def on_step_start(self, step: int) -> None:
        """Copy the weights if the update of this step is measured, that is, if an evaluation follows.

        Args:
            step: Optimizer step that begins.
        """
        due = self.every and step % self.every == 0
        self.previous, self.ratios = self.weights.copy() if due else None, {}

    def on_step_end(self) -> None:
        """Compute the ratio of all weights as one vector, and that of each weight matrix."""
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
