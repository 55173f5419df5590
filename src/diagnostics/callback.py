"""What a run shows of its inside: metrics and curves while it trains, figures and a page when it has."""

import json
from math import isfinite
from pathlib import Path

import numpy as np

from src.common.atomic_io import write_text
from src.common.job_result import GRADIENTS
from src.config.schema import Config
from src.data.corpus import Corpus
from src.diagnostics.gradient_flow import Probe, Prober
from src.rnn.init import initialise
from src.rnn.parameters import Architecture, Array

ABOUT = (
    "norms[layer][state][i]: the norm, averaged over windows, of the gradient of the loss (nats) of a "
    "window's last character with respect to the hidden state distances[i] characters before it; state 1, of "
    "the LSTM, is the cell state."
)
DISTANCES = 100  # points of a curve; of longer windows they lie closer together near the loss


class Inside:
    """Probes while a run trains. Their curves stand in a file of the run's directory from the first on; a run
    that goes on after an interruption goes on in it."""

    def __init__(self, config: Config, architecture: Architecture, corpus: Corpus, folder: Path) -> None:
        self.config, self.architecture = config, architecture
        self.prober = Prober(config, architecture, corpus)
        self.distances = distances_of(config.seq_len)
        self.file = folder / GRADIENTS
        self.lines: dict[int, str] = {}  # step to its line of the file
        if self.file.exists():
            told = json.loads(self.file.read_text(encoding="utf-8"))["steps"]
            self.lines = {row["step"]: json.dumps(row) for row in told}

    def begin(self, weights: Array | None = None) -> dict[str, float]:
        """The metrics of the weights before the first step. weights: those, where they are not drawn."""
        first = drawn_weights(self.config, self.architecture) if weights is None else weights
        return self.take(0, self.prober.look(first))

    def evaluated(self, step: int, flat: Array) -> dict[str, float]:
        """The metrics of the weights at an evaluation; none where probing so often would cost too much."""
        return self.take(step, self.prober.look(flat)) if self.prober.due(step) else {}

    def take(self, step: int, probe: Probe) -> dict[str, float]:
        norms = [
            [[rounded(n) for n in s] for s in layer]
            for layer in probe.gradients[..., self.distances].tolist()
        ]
        self.lines[step] = json.dumps({"step": step, "norms": norms})
        steps = ",\n".join(line for _, line in sorted(self.lines.items()))
        head = json.dumps({"about": ABOUT, "distances": self.distances})[:-1]
        write_text(self.file, f'{head}, "steps": [\n{steps}\n]}}\n')
        return probe.metrics()


def distances_of(steps: int) -> list[int]:
    """0 to steps - 1, all of them or DISTANCES at most."""
    if steps <= DISTANCES:
        return list(range(steps))
    return sorted({round(d) - 1 for d in np.geomspace(1, steps, DISTANCES).tolist()})


def rounded(value: float) -> float | None:
    """To six digits; None for what is no finite number, which JSON does not know."""
    return float(f"{value:.6g}") if isfinite(value) else None


def drawn_weights(config: Config, architecture: Architecture) -> Array:
    """Those that training begins with, unless they are another run's: the first that its generator draws."""
    return initialise(architecture, config.model.init, np.random.default_rng(config.seed))
