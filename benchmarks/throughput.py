"""Training throughput against PyTorch's own recurrent layers, in one run that alternates the two.

    make bench          (or python -m benchmarks.throughput)

Whole training steps (batch, forward, backward, clip, Adam) on 2 threads each; medians over the rounds,
so that a machine whose speed drifts slows both. Without PyTorch it times this project alone. Writes
benchmarks/throughput.json and benchmarks/throughput.md.
"""

import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from src.files import write_json, write_text
from src.lab.environment import PROJECT, environment

THREADS = 2
ROUNDS = 9
SECONDS = 0.5  # a round of one program
CASES = [("rnn", 128, 20, 64, 2.5)]  # cell, hidden, seq_len, batch, target ratio
HERE = Path(__file__).parent


class Program:
    """One of the two programs, waiting for its turn."""

    def __init__(self, name: str, case: tuple[str, int, int, int, float]) -> None:
        sizes = [str(n) for n in case[1:4]]
        command = [sys.executable, "-m", "benchmarks.programs", name, case[0], *sizes, str(THREADS)]
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.characters = case[2] * case[3]
        self.seconds(3)
        self.count = max(2, round(SECONDS / (self.seconds(5) / 5)))

    def seconds(self, steps: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def rate(self) -> float:
        """Characters per second over one round."""
        return self.count * self.characters / self.seconds(self.count)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(case: tuple[str, int, int, int, float], peers: list[str]) -> dict[str, Any]:
    """Characters per second of each program, and the ratio round by round."""
    programs = {name: Program(name, case) for name in ["numpy", *peers]}
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for k in range(ROUNDS):
        for name in list(programs) if k % 2 else reversed(list(programs)):
            rates[name].append(programs[name].rate())
    for program in programs.values():
        program.close()
    row: dict[str, Any] = dict(zip(("cell", "hidden", "seq_len", "batch", "target"), case, strict=True))
    row |= {f"{name}_chars_per_second": statistics.median(rate) for name, rate in rates.items()}
    if peers:
        ratios = sorted(a / b for a, b in zip(rates["numpy"], rates["torch"], strict=True))
        row |= {"ratio": statistics.median(ratios), "ratio_min": ratios[0], "ratio_max": ratios[-1]}
    return row


def table(rows: list[dict[str, Any]], around: dict[str, Any]) -> str:
    """The figures as a page."""
    lines = [
        "# Training throughput against PyTorch",
        "",
        "Written by `make bench`. Whole training steps, characters per second, medians of "
        f"{ROUNDS} alternating rounds, {THREADS} threads each, {around['processor']}, NumPy "
        f"{around['packages']['numpy']}, PyTorch {around['torch'] or 'absent'} (eager, fused Adam).",
        "",
        "| cell | hidden, seq_len, batch | this project | PyTorch | ratio (min to max) | target |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        peer = f"{r['torch_chars_per_second']:,.0f}" if "ratio" in r else "-"
        ratio = f"{r['ratio']:.2f} ({r['ratio_min']:.2f} to {r['ratio_max']:.2f})" if "ratio" in r else "-"
        sizes = f"{r['hidden']}, {r['seq_len']}, {r['batch']}"
        lines.append(
            f"| {r['cell']} | {sizes} | {r['numpy_chars_per_second']:,.0f} | {peer} | {ratio} | {r['target']} |"
        )
    return "\n".join(lines) + "\n"


def torch_version() -> str | None:
    """The installed PyTorch, or None: it is an optional peer."""
    if importlib.util.find_spec("torch") is None:
        return None
    from importlib.metadata import version

    return version("torch")


def main() -> None:
    peer = torch_version()
    if peer is None:
        print("PyTorch is not installed: timing this project alone (make bench installs it)", file=sys.stderr)
    around = {**environment(), "torch": peer}
    rows = []
    for case in CASES:
        rows.append(measure(case, ["torch"] if peer else []))
        print(table(rows[-1:], around).splitlines()[-1], flush=True)
    if peer:
        write_json(HERE / "throughput.json", {"rows": rows, "environment": around})
        write_text(HERE / "throughput.md", table(rows, around))


if __name__ == "__main__":
    main()
