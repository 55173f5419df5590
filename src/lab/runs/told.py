"""What a run has told already: its journal, read again when it goes on."""

from dataclasses import dataclass, field
from pathlib import Path

from src.lab.runs import journal

Curves = dict[str, list[tuple[int, float]]]  # metric name to (step, value) points


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
    for _, record in journal.read(folder, 0):
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
