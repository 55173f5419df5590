"""Cost of diagnostics: the share of the training time, and the time at the end of a run.

    python -m benchmarks.probing_cost

The share is measured within one training run, whose measurements are timed one by one: differences of whole
runs are smaller than the noise. The end is measured on whole runs, alternately with and without diagnostics,
in new processes. Writes benchmarks/probing_cost.json.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from src import final_evaluation, runner
from src.common.files import PROJECT, write_json
from src.diagnostics import gradient_flow
from src.diagnostics.gradient_flow import DiagnosticsCallback
from src.final_evaluation import evaluate_and_log
from src.tracking.environment import environment

CASES: dict[str, list[str]] = {
    "default": [],
    "gru": ["model=gru"],
    "lstm": ["model=lstm", "max_epochs=2"],
    "lstm, 2 layers": ["model=lstm", "model.layers=2", "max_epochs=2"],
    "rnn 512": ["hidden=512", "max_epochs=2"],
    "rnn 16, evaluated every 50 steps": ["hidden=16", "eval_every=50"],
    "rnn, windows of 100": ["seq_len=100", "max_epochs=1"],
}
ROUNDS = 5
RESULT = Path(__file__).with_name("probing_cost.json")


def share_of(arguments: list[str], outputs: Path) -> dict[str, float]:
    """Return the seconds of training, the seconds of its measurements, and their number, of one run in a new
    process."""
    command = [sys.executable, "-m", "benchmarks.probing_cost", "--one", *arguments, f"output_dir={outputs}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    training, probes, count = (float(word) for word in done.stdout.splitlines()[-1].split())
    return {"training_s": training, "probes_s": probes, "probes": count, "share": probes / training}


def one() -> None:
    """Train like `python -m src.train`, with timed measurements."""
    from src.cli.main import run_command

    spent, count, found = [0.0], [0], []

    def timed(owner: Any, name: str, counts: bool) -> None:
        whole: Callable[..., Any] = getattr(owner, name)

        def run(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return whole(*arguments)
            finally:
                spent[0] += time.perf_counter() - began
                count[0] += counts

        setattr(owner, name, run)

    timed(DiagnosticsCallback, "on_train_start", True)
    timed(DiagnosticsCallback, "on_validation_end", True)
    timed(gradient_flow.UpdateRatio, "on_step_start", False)
    timed(gradient_flow.UpdateRatio, "on_step_end", False)

    def noted(*arguments: Any) -> Any:
        found.append((arguments[-1].seconds, spent[0], count[0]))
        return evaluate_and_log(*arguments)

    sys.argv = ["train.py", *sys.argv[2:], "tracking=none"]
    with patch.object(final_evaluation, "evaluate_and_log", noted):
        run_command("train", "config", lambda config, _: runner.run(config, "train"))
    print(*found[0])


def end_seconds(diagnostics: str, outputs: Path) -> float:
    """Return the seconds from the end of training to the end of the command, of a short default run."""
    command = [
        sys.executable,
        "-m",
        "src.train",
        "max_epochs=0.5",
        "tracking=none",
        f"diagnostics={diagnostics}",
    ]
    process = subprocess.Popen(
        [*command, f"output_dir={outputs}"],
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    began = None
    for line in process.stderr:
        if re.match("trained .* in", line):
            began = time.perf_counter()
    if process.wait() or began is None:
        raise RuntimeError(f"expected a run that ends well, got exit status {process.returncode}")
    return time.perf_counter() - began


def main() -> None:
    ends: dict[str, list[float]] = {"true": [], "false": []}
    with tempfile.TemporaryDirectory() as temporary:
        shares = {}
        for name, arguments in CASES.items():
            shares[name] = share_of(arguments, Path(temporary))
            print(f"{name:<34} {shares[name]['share']:.2%} of {shares[name]['training_s']:.1f} s")
        for k in range(ROUNDS):
            for diagnostics in ("true", "false") if k % 2 else ("false", "true"):  # alternate the order
                ends[diagnostics].append(end_seconds(diagnostics, Path(temporary)))
    added = statistics.median(ends["true"]) - statistics.median(ends["false"])
    print(f"the end of a run takes {added:+.2f} s (difference of medians of {ROUNDS})")
    write_json(
        RESULT,
        {
            "share": shares["default"]["share"],
            "end_s": added,
            "cases": shares,
            "ends_s": ends,
            "processor": environment()["processor"],
            "cores": environment()["cores"],
        },
    )


if __name__ == "__main__":
    one() if sys.argv[1:2] == ["--one"] else main()
