"""Resuming: a training killed many times, the cost of a checkpoint, and the time to end after SIGTERM.

    make bench          (or python -m benchmarks.resume)

Kills a real training with SIGKILL at 25 random moments, some of them during a checkpoint, resumes it each
time, and compares the end with that of an uninterrupted run. Writes benchmarks/resume.json.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from src.common.files import PROJECT, write_json
from src.tracking.environment import environment
from src.tracking.event_log import EventLog
from src.tracking.sync_state import SyncState
from src.training import checkpoint
from tests.fault_injection import IN_A_CHECKPOINT, PLACES

RESULT = Path(__file__).with_name("resume.json")
KILLS = 25
SAVES = 100
TIMES = {"throughput/chars_per_second", "train/seconds"}
SETTINGS = [
    *(
        "tracking=none",
        "workers=1",
        "hidden=32",
        "max_epochs=0.5",
        "eval_every=10",
        "log_every=5",
        "length=20",
    ),
    *("model=gru", "batching=shuffled", "stateful=true", "schedule.warmup_steps=20", "patience=null"),
]


def train(
    *arguments: str, program: tuple[str, ...] = ("-m", "src.train")
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def only_run(outputs: Path) -> Path:
    (folder,) = (outputs / "runs").iterdir()
    return folder


def points(folder: Path) -> list[Any]:
    """Return step, name and value of every metric point, except timing metrics."""
    records = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        (record["step"], name, value)
        for record in records
        if record["kind"] == "metrics"
        for name, value in record["values"].items()
        if name not in TIMES
    ]


def killed(root: Path) -> dict[str, Any]:
    """Compare a training that is killed KILLS times with an uninterrupted one."""
    straight, broken = ([f"output_dir={root / name}", f"data_dir={root}"] for name in ("straight", "broken"))
    train(*SETTINGS, *straight).check_returncode()
    rng, places = random.Random(), ["gradient"]  # a new seed each time
    done = train(*SETTINGS, *broken, program=("tests/fault_injection.py", "gradient", "30"))
    while len(places) < KILLS and done.returncode == -signal.SIGKILL:
        place = rng.choice(PLACES)
        most = {"gradient": 25, "half a line": 8, "time": 300}.get(place, 2)
        trap = ("tests/fault_injection.py", place, str(rng.randint(1, most)))
        done = train("resume=latest", *broken, program=trap)
        places.append(place)
        print(f"{len(places):>3} killed: {place}")
    if done.returncode != -signal.SIGKILL:
        raise RuntimeError(f"expected a training that kills itself, got {done.stderr[-500:]}")
    train("resume=latest", *broken).check_returncode()
    one, other = only_run(root / "straight"), only_run(root / "broken")
    weights = [(run / "model" / "weights.safetensors").read_bytes() for run in (one, other)]
    return {
        "kills": len(places),
        "kills_while_a_checkpoint_was_written": sum(place in IN_A_CHECKPOINT for place in places),
        "weights_equal": weights[0] == weights[1],
        "points": len(points(one)),
        "points_equal": points(one) == points(other),
    }


def cost(root: Path) -> dict[str, float]:
    """Return milliseconds and bytes of a checkpoint of the default network, including the fsync of the event
    log."""
    places = [f"output_dir={root / 'default'}", f"data_dir={root}"]
    train("tracking=none", "max_epochs=0.3", *places).check_returncode()
    folder = only_run(root / "default")
    found = checkpoint.newest(folder)
    event_log, milliseconds = EventLog(folder), []
    for step in range(SAVES):
        event_log.metrics(step, {"val/loss": 2.0})
        began = time.perf_counter()
        event_log.sync()
        path = checkpoint.save(
            folder, found.state["training"]["counters"]["step"] + step, found.arrays, found.state
        )
        milliseconds.append(1000 * (time.perf_counter() - began))
    return {"milliseconds": statistics.median(milliseconds), "bytes": path.stat().st_size}


def seconds_to_end(root: Path) -> float:
    """Return the seconds from SIGTERM to the end of the process, during the default training, tracked."""
    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", f"output_dir={root / 'ended'}", f"data_dir={root}"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 500/"))
    os.killpg(process.pid, signal.SIGTERM)
    began = time.perf_counter()
    process.communicate()
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError(f"expected exit status {128 + signal.SIGTERM}, got {process.returncode}")
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # the upload may still run
        root = Path(temporary)
        found = killed(root) | {
            "checkpoint": cost(root),
            "seconds_from_sigterm_to_exit": seconds_to_end(root),
        }
        (folder,) = (root / "ended" / "runs").iterdir()
        while not SyncState.load(folder).ended:  # by the background sync
            time.sleep(0.5)
    print(json.dumps(found, indent=2))
    around = environment()
    write_json(RESULT, found | {"processor": around["processor"], "cores": around["cores"]})
    if not (found["weights_equal"] and found["points_equal"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
