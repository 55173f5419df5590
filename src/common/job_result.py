"""One row for each job of a sweep: what tables and plots of the sweep are made of."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from typing_extensions import TypedDict

from src.common.errors import UserError
from src.common.files import read_json, record_schema, write_text

Curves = dict[str, list[tuple[int, float]]]  # metric name to (step, value) points

GRADIENTS = "gradient_through_time.json"  # a run's file of them; src/diagnostics/gradient_flow.py
PRUNED = "pruned"  # stop reason of a pruned job
INCOMPLETE = (PRUNED, "interrupted")  # such a run is finished, but cannot replace its job in a later sweep


@dataclass(frozen=True)
class JobResult:
    """Result of one job.

    Attributes:
        name: `hidden=64 clip=1`.
        number: Index of the job in its sweep.
        swept: Swept key to value, as text.
        run_id: MLflow's id, or the name of the run's directory.
        status: FINISHED, FAILED, KILLED or RUNNING.
        reason: Why it ended.
        reused: Whether it was trained for an earlier sweep.
        seconds: From start to end.
        metrics: The last value of each metric.
        curves: (step, value) of train/loss and val/loss.
        samples: Prompt, temperature, seed, text and metrics of each sample.
        gradient: See `best_gradient_norms`.
        directory: Name of the run's directory, where it is on this machine.
    """

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
    directory: str = ""

    @property
    def loss(self) -> float:
        """val/loss; infinite where there is none."""
        return self.metrics.get("val/loss", float("inf"))


def write_results(file: Path, rows: list[JobResult]) -> None:
    """Write jobs.json: the sweep as data."""
    write_text(file, json.dumps([asdict(row) for row in rows]) + "\n")


def read_results(file: Path, key: str = "run") -> list[JobResult]:
    """Read a jobs.json.

    Args:
        file: The file.
        key: The config key that an error names.

    Raises:
        UserError: It is missing or damaged.
    """
    pairs = list[list[int | float]]  # JSON has no tuples
    fields = {**get_type_hints(JobResult), "curves": dict[str, pairs], "gradient": pairs}
    rows = []
    schema: Any = list[record_schema(**fields)]  # type: ignore[misc]
    for entry in read_json(file, schema, key):
        try:
            entry["curves"] = {name: to_points(points) for name, points in entry["curves"].items()}
            entry["gradient"] = to_points(entry["gradient"])
        except ValueError as error:
            raise UserError(
                f"{key}: expected a whole {file.name}, got a damaged one in {file.parent} ({error})"
            ) from error
        rows.append(JobResult(**entry))
    return rows


def to_points(pairs: list[list[int | float]]) -> list[tuple[int, float]]:
    """Return pairs as JSON has them as (step, value) points. Raises ValueError for one that is no pair."""
    return [(int(step), value) for step, value in pairs]


def best_of(rows: list[JobResult]) -> JobResult | None:
    """Return the finished row with the lowest val/loss."""
    finished = [row for row in rows if row.status == "FINISHED" and row.loss < float("inf")]
    return min(finished, key=lambda row: row.loss, default=None)


def final_score(rows: list[JobResult]) -> str:
    """Return the metric of the final split.

    A corpus without a test split is evaluated on its validation split, under another name.
    """
    scored = {name for row in rows for name in ("test/bpc", "final_val/bpc") if name in row.metrics}
    return "final_val/bpc" if scored == {"final_val/bpc"} else "test/bpc"


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
