"""Overrides of a short job with checkpoints, and the metrics that its event log holds."""

import json
from pathlib import Path

TIMING_METRICS = {"throughput/chars_per_second", "train/seconds"}
# A job with checkpoints at 20, 40 and 60.
JOB = ("max_epochs=0.05", "eval_every=20", "log_every=5", "length=20", "workers=1", "diagnostics=false",
       "figures=false")  # fmt: skip
STEPS = 60


def points(folder: Path) -> list[tuple[int, str, float]]:
    """Return every metric point in the order of logging, without those of timing metrics."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [
        (record["step"], name, value)
        for record in map(json.loads, lines)
        if record["kind"] == "metrics"
        for name, value in record["values"].items()
        if name not in TIMING_METRICS
    ]


def only_run(outputs: Path) -> Path:
    (folder,) = (outputs / "runs").iterdir()
    return folder
