"""What a run has told already: its journal, read again when it goes on."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.common.job_result import GRADIENTS, Curves, Row, kept_gradient
from src.tracking import event_log


@dataclass
class Told:
    """points: value by step and name. models: how often the model was told. status, reason: how it ended
    last, `RUNNING` for a run without an end. (A run that went on after an end is running again.)"""

    points: dict[tuple[int, str], float] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    models: int = 0
    status: str = "RUNNING"
    reason: str = ""

    def add(self, step: int, metrics: dict[str, float]) -> dict[str, float]:
        """Take note of metrics; returns those of them that are new.

        A training that goes on from a checkpoint comes by steps that it has told of, with the same values.
        """
        new = {name: value for name, value in metrics.items() if (step, name) not in self.points}
        for name, value in new.items():
            self.points[step, name] = value
            self.curves.setdefault(name, []).append((step, value))
        return new


def read(folder: Path) -> Told:
    """What the journal of a run's directory tells. Raises FileNotFoundError where there is none."""
    told = Told()
    for _, record in event_log.read(folder, 0):
        match record["kind"]:
            case "metrics":
                told.add(record["step"], record["values"])
            case "model":
                told.models += 1
            case "resumed":
                told.status, told.reason = "RUNNING", ""
            case "end":
                told.status, told.reason = record["status"], record["reason"]
    return told


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
    for _, record in event_log.read(folder, 0):
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
