"""Training diagnostics as a callback: gradient flow and saturation while a network trains."""

import json
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from src.common.callback import Callback
from src.common.files import read_json, write_text
from src.common.job_result import GRADIENTS, GradientFile
from src.diagnostics.gradient_flow import GradientFlowMonitor
from src.rnn.parameters import Array, unflatten
from src.rnn.state_gradients import recurrent_matrices, singular_values

DESCRIPTION = (
    "norms[layer][state][i]: the norm, averaged over windows, of the gradient of the loss (nats) of a "
    "window's last character with respect to the hidden state distances[i] characters before it; state 1, of "
    "the LSTM, is the cell state. initial_singular_values[layer]: of the recurrent matrix before the first "
    "step."
)
DISTANCES = 100  # points of a curve; in longer windows they are denser near the loss


class Logger(Protocol):
    """Methods of `src.training.callbacks.Logger` that the callback calls; that package is a later one."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, folder: str = "") -> None: ...


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
