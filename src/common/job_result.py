"""One row for each job of a sweep: what tables and plots of the sweep are made of."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from src.common.atomic_io import write_text

Curves = dict[str, list[tuple[int, float]]]  # metric name to (step, value) points

GRADIENTS = "gradient_through_time.json"  # a run's file of them; src/diagnostics/callback.py
HOPELESS = "hopeless"  # why a job ended that was given up
CUT_SHORT = (HOPELESS, "interrupted")  # such a run is finished, but does not stand for its job another time


@dataclass(frozen=True)
class Row:
    """One job. name: `hidden=64 clip=1`. swept: key to value as text. status: FINISHED, FAILED, KILLED or
    RUNNING; reason: why it ended so. reused: it was trained for an earlier sweep. seconds: from beginning to
    end. metrics: the last value of each. curves: (step, value) of train/loss and val/loss. samples: prompt,
    temperature, seed and text of each. gradient: what `best_gradient_norms` says."""

    name: str
    number: int
    swept: dict[str, str]
    run_id: str
    status: str
    reason: str = ""
    reused: bool = False
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    gradient: list[tuple[int, float]] = field(default_factory=list)
    directory: str = ""  # the name of the run's own, where it is on this machine

    @property
    def loss(self) -> float:
        """val/loss; infinite where there is none."""
        return self.metrics.get("val/loss", float("inf"))


def write_rows(file: Path, rows: list[Row]) -> None:
    """jobs.json: the sweep as data."""
    write_text(file, json.dumps([asdict(row) for row in rows]) + "\n")


def read_rows(file: Path) -> list[Row]:
    """The rows of a jobs.json."""
    entries = json.loads(file.read_text(encoding="utf-8"))
    for entry in entries:
        entry["curves"] = {
            name: [(step, value) for step, value in points] for name, points in entry["curves"].items()
        }
        entry["gradient"] = [(distance, norm) for distance, norm in entry.get("gradient", [])]
    return [Row(**entry) for entry in entries]


def best_of(rows: list[Row]) -> Row | None:
    """The finished row with the lowest val/loss."""
    finished = [row for row in rows if row.status == "FINISHED" and row.loss < float("inf")]
    return min(finished, key=lambda row: row.loss, default=None)


def final_score(rows: list[Row]) -> str:
    """The metric of the final split: a corpus without a test split is scored on its validation split, under a
    name of its own."""
    scored = {name for row in rows for name in ("test/bpc", "val_final/bpc") if name in row.metrics}
    return "val_final/bpc" if scored == {"val_final/bpc"} else "test/bpc"


class GradientNorms(TypedDict):
    """Gradient norms of the weights at a step. norms[layer][state][i]: at distance i; None for one that is
    not finite."""

    step: int
    norms: list[list[list[float | None]]]


class GradientFile(TypedDict):
    """gradient_through_time.json. about: what the numbers are. distances: characters before the loss.
    initial_singular_values[layer]: of the recurrent matrix before the first step."""

    about: str
    distances: list[int]
    initial_singular_values: list[list[float | None]]
    steps: list[GradientNorms]


def best_gradient_norms(file: GradientFile, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Select the gradient norms of the best weights.

    Args:
        file: Content of a gradient_through_time.json.
        val: (step, value) of val/loss; the lowest is that of the best weights.

    Returns:
        (k, mean norm of dL_T/dh_{T-k} in nats) of the top layer, k characters before the loss; empty where
        these weights were not measured.
    """
    best = min(val, key=lambda point: point[1])[0] if val else None
    for row in file["steps"]:
        if row["step"] == best:
            norms = row["norms"][-1][0]
            return [(k, norm) for k, norm in zip(file["distances"], norms, strict=True) if norm is not None]
    return []
