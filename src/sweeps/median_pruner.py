"""When a job of a sweep is given up: the median rule, against the finished jobs of the same sweep."""

import json
from pathlib import Path
from statistics import median

from src.tracking.run_record import local_row

LEAST = 5  # finished jobs, below which nothing is given up: a median of fewer is chance
FIRST = 3  # evaluations that every job is left: the first ones tell more of the warm-up than of the job


class Median:
    """Is behind when the best val/loss so far is above the median of the others' at the same step.

    A job that is given up cannot be the best of its sweep: one that has finished was better by that step,
    and a job's val/loss is its lowest. The others are found as journals beside the job's own, so only those
    of this machine, or of a folder that machines share, count.

    runs: the folder of all runs' folders. sweep: its id.
    """

    def __init__(self, runs: Path, sweep: str) -> None:
        self.runs, self.sweep = runs, sweep
        self.evaluations = 0
        self.finished: dict[Path, list[tuple[int, float]]] = {}  # val/loss by step, read once
        self.foreign: set[Path] = set()  # runs of other sweeps, and jobs that failed

    def __call__(self, step: int, loss: float) -> bool:
        """step: the evaluation's. loss: the lowest val/loss up to it."""
        self.evaluations += 1
        self.look()
        lowest = [
            min(value for at, value in points if at <= step)
            for points in self.finished.values()
            if any(at <= step for at, _ in points)
        ]
        return self.evaluations >= FIRST and len(lowest) >= LEAST and loss > median(lowest)

    def look(self) -> None:
        """Read the journals of the jobs that have finished since."""
        for file in self.runs.glob("*/sweep.json"):
            folder = file.parent
            if folder in self.finished or folder in self.foreign:
                continue
            told = json.loads(file.read_text(encoding="utf-8"))
            if told["sweep"] != self.sweep:
                self.foreign.add(folder)
                continue
            row = local_row(folder, told)
            if row.status == "FINISHED":
                self.finished[folder] = row.curves.get("val/loss", [])
            elif row.status != "RUNNING":
                self.foreign.add(folder)
