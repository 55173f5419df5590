"""Cost of tracking: the default training with and without MLflow, alternately, in new processes.

    make bench          (or python -m benchmarks.tracking_cost)

Compares the seconds of training that the command reports. The speed of a machine drifts by more than the
difference, so the result is the median of the ratios of the rounds, with a distribution-free interval: the
fourth smallest and the fourth largest of 15 contain the true median with a probability of 0.965 (binomial;
David and Nagaraja 2003, "Order Statistics", 7.1). Writes benchmarks/tracking_cost.json.
"""

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from src.common.files import PROJECT, write_json
from src.tracking.environment import environment

ROUNDS = 15
BEYOND = 3  # ratios beyond each end of the interval
RESULT = Path(__file__).with_name("tracking_cost.json")


def training_seconds(tracking: str, outputs: Path) -> float:
    """Return the seconds of training of one default run."""
    command = [sys.executable, "-m", "src.train", f"tracking={tracking}", f"output_dir={outputs}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    found = re.search(r"^trained .* in ([0-9.]+) s,", done.stderr, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"expected the line `trained ... in ... s`, got {done.stderr[-500:]}")
    return float(found.group(1))


def main() -> None:
    ratios: list[float] = []
    seconds: dict[str, list[float]] = {"none": [], "mlflow": []}
    with tempfile.TemporaryDirectory() as temporary:
        training_seconds("mlflow", Path(temporary))  # the first run creates the database
        for k in range(ROUNDS):
            order = ("none", "mlflow") if k % 2 else ("mlflow", "none")  # alternate the order
            for tracking in order:
                seconds[tracking].append(training_seconds(tracking, Path(temporary)))
            ratios.append(seconds["mlflow"][-1] / seconds["none"][-1])
            print(
                f"none {seconds['none'][-1]:.2f} s   mlflow {seconds['mlflow'][-1]:.2f} s   {ratios[-1]:.3f}"
            )
    costs = sorted(ratio - 1 for ratio in ratios)
    cost, low, high = statistics.median(costs), costs[BEYOND], costs[-1 - BEYOND]
    print(f"tracking costs {cost:+.1%} of the training time ({low:+.1%} to {high:+.1%}; {ROUNDS} rounds)")
    write_json(
        RESULT,
        {
            "cost": cost,
            "interval": [low, high],
            "seconds": seconds,
            "processor": environment()["processor"],
            "cores": environment()["cores"],
        },
    )


if __name__ == "__main__":
    main()
