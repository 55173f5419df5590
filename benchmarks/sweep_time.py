"""Speed-up of a sweep by hydra/launcher=joblib: four equal jobs, two at a time or one by one.

    make bench          (or python -m benchmarks.sweep_time)

Both sides are whole commands: parent run, four training runs with evaluation and samples, upload to MLflow,
table and report. Both train the same four jobs, five epochs of the default config with other seeds and
workers=1. (With the default workers=2 a job uses both cores; `serial_two_workers` has one such measurement,
without a bound.) Steps are counted, not seconds, so a job that is slowed down takes longer. Rounds alternate
the order. Writes benchmarks/sweep_time.json.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.common.files import PROJECT, write_json
from src.tracking.environment import environment

ROUNDS = 2
BOUND = 0.6  # share of the serial time, on two cores
JOBS = ("seed=1,2,3,4", "max_epochs=5", "patience=null")  # about 13 s of training per job on one core
SIDES = {
    "serial": ("hydra/launcher=basic", "workers=1"),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "workers=1"),
    "serial_two_workers": ("hydra/launcher=basic", "workers=2"),
}
RESULT = Path(__file__).with_name("sweep_time.json")


def seconds(side: str, outputs: Path) -> float:
    """Return the seconds of one whole sweep."""
    command = [sys.executable, "-m", "src.train", "--multirun", *SIDES[side], *JOBS]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, f"output_dir={outputs}"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"expected the sweep to end well, got {done.stderr[-2000:]}")
    print(f"{side:>20} {took:6.1f} s", flush=True)
    return took


def main() -> None:
    took: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as temporary:
        outputs = Path(temporary)
        took["serial_two_workers"].append(seconds("serial_two_workers", outputs))  # also creates the database
        for k in range(ROUNDS):
            for side in ("serial", "joblib") if k % 2 else ("joblib", "serial"):
                took[side].append(seconds(side, outputs))
    ratios = [joblib / serial for joblib, serial in zip(took["joblib"], took["serial"], strict=True)]
    ratio = statistics.median(took["joblib"]) / statistics.median(took["serial"])
    verdict = "at most" if ratio <= BOUND else "NOT at most"
    print(f"joblib takes {ratio:.3f} of the serial time, {verdict} {BOUND} (ratio of medians of {ROUNDS})")
    around = environment()
    write_json(
        RESULT,
        {
            "ratio": ratio,
            "bound": BOUND,
            "ratios": ratios,
            "seconds": took,
            "processor": around["processor"],
            "cores": around["cores"],
        },
    )


if __name__ == "__main__":
    main()
