"""One row for each job of a sweep: what tables and plots of the sweep are made of."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from src.files import write_text
from src.lab.runs import journal
from src.lab.runs.told import Curves

GRADIENTS = "gradient_through_time.json"  # a run's file of them; src/lab/inside/inside.py
HOPELESS = "hopeless"  # why a job ended that was given up
CUT_SHORT = (HOPELESS, "interrupted")  # such a run is finished, but does not stand for its job another time


@dataclass(frozen=True)
class Row:
    """One job. name: `hidden=64 clip=1`. swept: key to value as text. status: FINISHED, FAILED, KILLED or
    RUNNING; reason: why it ended so. reused: it was trained for an earlier sweep. seconds: from beginning to
    end. metrics: the last value of each. curves: (step, value) of train/loss and val/loss. samples: prompt,
    temperature, seed and text of each. gradient: what `kept_gradient` says."""

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


def kept_gradient(told: str, val: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """How far the gradient of the kept weights reaches: (k, mean norm of dL_T/dh_{T-k} in nats) of the top
    layer, k characters before the loss; none for weights that were not probed.

    told: the text of a gradient_through_time.json. val: (step, value) of val/loss, whose lowest is the kept.
    """
    if not val:
        return []
    kept, found = min(val, key=lambda point: point[1])[0], json.loads(told)
    for row in found["steps"]:
        if row["step"] == kept:
            norms = row["norms"][-1][0]
            return [(k, norm) for k, norm in zip(found["distances"], norms, strict=True) if norm is not None]
    return []


def local_rows(runs: Path, sweep: str) -> list[Row]:
    """The rows of an untracked sweep, from the directories of its runs."""
    rows = []
    for file in sorted([*runs.glob("*/sweep.json"), *runs.glob(f"*/sweep-{sweep}.json")]):
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["sweep"] == sweep:
            rows.append(local_row(file.parent, told))
    return sorted(rows, key=lambda row: row.number)


def folder_row(folder: Path, run_id: str) -> Row:
    """The row of a job in its directory. run_id: "" for the directory's name."""
    told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    return replace(local_row(folder, told), run_id=run_id or folder.name)


def local_row(folder: Path, told: dict[str, Any]) -> Row:
    """A row from a run's journal."""
    metrics: dict[str, float] = {}
    curves: Curves = {}
    samples: list[dict[str, Any]] = []
    status, reason, began, ended = "RUNNING", "", 0, 0
    for _, record in journal.read(folder, 0):
        match record["kind"]:
            case "start":
                began = record["time"]
            case "metrics":
                metrics |= record["values"]
                for name, value in record["values"].items():
                    curves.setdefault(name, []).append((record["step"], value))
            case "table":
                samples = record["rows"]
            case "resumed":
                status, reason = "RUNNING", ""
            case "end":
                status, reason, ended = record["status"], record["reason"], record["time"]
    inside = folder / GRADIENTS
    told_inside = inside.read_text(encoding="utf-8") if inside.exists() else ""
    return Row(
        name=told["name"],
        number=told["number"],
        swept=told["swept"],
        run_id=folder.name,
        status=status,
        reason=reason,
        reused=told.get("reused", False),
        seconds=max(0, ended - began) / 1000,
        metrics=metrics,
        curves={name: curves[name] for name in ("train/loss", "val/loss") if name in curves},
        samples=samples,
        gradient=kept_gradient(told_inside, curves.get("val/loss", [])) if told_inside else [],
        directory=folder.name,
    )
