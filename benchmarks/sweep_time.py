"""How much sooner a sweep ends with hydra/launcher=joblib: four equal jobs, two at a time or one by one.

    make bench          (or python -m benchmarks.sweep_time)

Both sides are the whole command, from the shell to its exit: the parent run, the four trainings, their
evaluation and samples, their delivery to MLflow, the table and the page at the end. Both train the same
four jobs, five epochs of the default config with another seed each, with workers=1. (A job that shares its
batches out to both cores, as workers=2 does by default, is parallel already: what four of those take one
after the other is measured once, as `serial_two_workers`, without a bound.) The steps are counted, not the
seconds, so that a job which is slowed down by its neighbor takes longer. Rounds alternate, so that neither
side is always the first. Writes benchmarks/sweep_time.json.
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
BOUND = 0.6  # of the serial time, on two cores
JOBS = ("seed=1,2,3,4", "max_epochs=5", "patience=null")  # each some 13 s of training on one core
SIDES = {
    "serial": ("hydra/launcher=basic", "workers=1"),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "workers=1"),
    "serial_two_workers": ("hydra/launcher=basic", "workers=2"),
}
RESULT = Path(__file__).with_name("sweep_time.json")


def seconds(side: str, outputs: Path) -> float:
    """Of one whole sweep."""
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
        took["serial_two_workers"].append(seconds("serial_two_workers", outputs))  # makes the database, too
        for k in range(ROUNDS):
            for side in ("serial", "joblib") if k % 2 else ("joblib", "serial"):
                took[side].append(seconds(side, outputs))
    ratios = [joblib / serial for joblib, serial in zip(took["joblib"], took["serial"], strict=True)]
    ratio = statistics.median(took["joblib"]) / statistics.median(took["serial"])
    said = "at most" if ratio <= BOUND else "NOT at most"
    print(f"joblib takes {ratio:.3f} of the serial time, {said} {BOUND} (ratio of medians of {ROUNDS})")
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
