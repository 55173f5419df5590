"""Results of the jobs of a sweep, one per job: the data of all tables and plots of the sweep."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from typing_extensions import TypedDict

from src.common.errors import UserError
from src.common.files import read_json, record_schema, write_text

Curves = dict[str, list[tuple[int, float]]]  # metric name to (step, value) points

GRADIENTS = "gradient_through_time.json"  # written by src/diagnostics/gradient_flow.py
PRUNED = "pruned"  # stop reason of a pruned job
INCOMPLETE = (PRUNED, "interrupted")  # such a run is finished, but cannot replace its job in a later sweep


@dataclass(frozen=True)
class JobResult:
    """Result of one job of a sweep.

    Attributes:
        name: Swept keys with their values, like `hidden=64 clip=1`.
        number: Index of the job in its sweep, from 0.
        swept: Swept key to value, as text.
        run_id: Id of the run in MLflow, or the name of the run directory.
        status: FINISHED, FAILED, KILLED or RUNNING.
        reason: Why the run ended, like `max_epochs` or `pruned`; "" where nothing was logged.
        reused: Whether the run was trained for an earlier sweep.
        text: Name of the text on which the job was trained.
        data_digest: Digest of the prepared text; losses of jobs with different digests cannot be compared.
        seconds: Wall time from the start of the run to its end; 0 while it is RUNNING.
        metrics: Metric name to the last logged value.
        curves: Points (step, value) of train/loss and val/loss, nats per character, and grad/clip_fraction.
        samples: Rows of the table of samples: prompt, temperature, seed, text and metrics of each.
        gradient: Points (k, norm) of the gradient through time (`best_gradient_norms`); empty where it was
            not measured.
        directory: Name of the run directory; "" where it is not on this machine.
    """

    name: str
    number: int
    swept: dict[str, str]
    run_id: str
    status: str
    reason: str = ""
    reused: bool = False
    text: str = ""
    data_digest: str = ""
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    gradient: list[tuple[int, float]] = field(default_factory=list)
    directory: str = ""

    @property
    def loss(self) -> float:
        """Validation loss (val/loss), nats per character; infinite where there is none."""
        return self.metrics.get("val/loss", float("inf"))


@dataclass(frozen=True)
class SearchHistory:
    """The trials of a search, also those of earlier commands.

    Attributes:
        points: Number of each completed trial, from 1, and its value of the first objective.
        importances: Importance of each key, the largest first, with the sum 1; empty where there are too few
            trials.
        objective: Name of the first objective.
        maximized: Whether larger values of it are better.
    """

    points: list[tuple[int, float]]
    importances: dict[str, float]
    objective: str = "val/loss"
    maximized: bool = False


def write_results(file: Path, rows: list[JobResult]) -> None:
    """Write jobs.json, the results of a sweep as data.

    Args:
        file: Path of the new file.
        rows: Results of all jobs, in the order in which they are written.

    Raises:
        UserError: The file cannot be written.
    """
    write_text(file, json.dumps([asdict(row) for row in rows]) + "\n")


def read_results(file: Path, key: str = "run") -> list[JobResult]:
    """Read a jobs.json.

    Args:
        file: A file that `write_results` wrote.
        key: Config key that an error names.

    Returns:
        The results, in the order of the file.

    Raises:
        UserError: The file is missing or damaged.
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
    """Convert pairs, which JSON stores as lists, to (step, value) points.

    Args:
        pairs: Lists of two numbers: a step and a value.

    Returns:
        One tuple per pair, the step as an integer.

    Raises:
        ValueError: An entry does not have exactly two numbers.
    """
    return [(int(step), value) for step, value in pairs]


def best_of_texts(rows: list[JobResult]) -> list[JobResult]:
    """Return, for each text, the finished job with the lowest val/loss.

    Args:
        rows: Results of the jobs; of equal losses the first wins.

    Returns:
        The best results; empty where no job finished with a finite val/loss.
    """
    best: dict[str, JobResult] = {}
    for row in rows:
        known = best.get(row.data_digest)
        if row.status == "FINISHED" and row.loss < (known.loss if known else float("inf")):
            best[row.data_digest] = row
    return [*best.values()]


def best_of(rows: list[JobResult]) -> JobResult | None:
    """Return the finished job with the lowest val/loss.

    Args:
        rows: Results of the jobs; of equal losses the first wins.

    Returns:
        The best result; None where no job finished with a finite val/loss, or where jobs were trained on
        different texts, whose losses cannot be compared.
    """
    best = best_of_texts(rows)
    return best[0] if len(best) == 1 else None


def equal_jobs(rows: list[JobResult]) -> list[list[JobResult]]:
    """Group the finished jobs whose losses are equal at every step, to the last bit.

    Args:
        rows: Results of the jobs.

    Returns:
        The groups of at least two jobs, in the order of `rows`.
    """
    groups: dict[str, list[JobResult]] = {}
    for row in rows:
        if row.status == "FINISHED" and row.curves.get("train/loss"):
            losses = [row.curves.get(name) for name in ("train/loss", "val/loss")]
            groups.setdefault(repr(losses), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def describe_equal_jobs(rows: list[JobResult]) -> list[str]:
    """Say which jobs are equal, and which clipping thresholds were never reached.

    Args:
        rows: Results of all jobs of a sweep.

    Returns:
        Sentences for below the table of the jobs; none for a sweep without equal jobs.
    """
    lines = []
    for group in equal_jobs(rows):
        lines.append(f"equal losses at every step: {', '.join(row.name for row in group)}")
        clips = {row.swept.get("clip", ""): row.curves.get("grad/clip_fraction") for row in group}
        unused = [clip for clip, points in clips.items() if points and not any(share for _, share in points)]
        if numbers := [f"clip={clip}" for clip in unused if clip not in ("", "null")]:
            lines.append(f"  {', '.join(numbers)}: no gradient reached the threshold (grad/clip_fraction 0)")
    return lines


def final_score(rows: list[JobResult]) -> str:
    """Return the name of the metric of the final split.

    A corpus without a test split is evaluated on its validation split, under another name.

    Args:
        rows: Results of the jobs of one sweep.

    Returns:
        `final_val/bpc` if a job has this metric and no job has `test/bpc`; else `test/bpc`.
    """
    scored = {name for row in rows for name in ("test/bpc", "final_val/bpc") if name in row.metrics}
    return "final_val/bpc" if scored == {"final_val/bpc"} else "test/bpc"


class GradientNorms(TypedDict):
    """Gradient norms of the weights at one step.

    Attributes:
        step: Optimizer step of the measurement.
        norms: norms[layer][state][i], in nats: mean norm of the gradient of the loss with respect to the
            state distances[i] characters before it. State 0 is the hidden state, state 1 the cell state of an
            LSTM. None stands for a value that is not finite.
    """

    step: int
    norms: list[list[list[float | None]]]


class GradientFile(TypedDict):
    """Content of gradient_through_time.json.

    Attributes:
        about: What the numbers mean, in one sentence.
        distances: Distances to the loss, in characters.
        initial_singular_values: initial_singular_values[layer]: singular values of the recurrent matrix
            before the first step; None for a value that is not finite.
        steps: One measurement per entry, in the order of the steps.
    """

    about: str
    distances: list[int]
    initial_singular_values: list[list[float | None]]
    steps: list[GradientNorms]


def best_gradient_norms(file: GradientFile, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Select the gradient norms of the best weights.

    Args:
        file: Content of a gradient_through_time.json.
        val: Points (step, value) of val/loss; the best weights are those of the lowest value.

    Returns:
        Points (k, mean norm of dL_T/dh_{T-k} in nats) of the top layer, k characters before the loss; empty
        where these weights were not measured.
    """
    best = min(val, key=lambda point: point[1])[0] if val else None
    for row in file["steps"]:
        if row["step"] == best:
            norms = row["norms"][-1][0]
            return [(k, norm) for k, norm in zip(file["distances"], norms, strict=True) if norm is not None]
    return []
