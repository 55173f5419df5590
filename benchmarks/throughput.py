"""Speed compared with PyTorch's recurrent layers; the two programs alternate.

    make bench          (or python -m benchmarks.throughput)

Whole training steps (batch, forward, backward, clip, Adam) on 2 threads each; medians over the rounds, so
that a drift of the machine's speed affects both. In addition: what each optimization saves, compared with
the reference implementation; a naive RNN, sampling, the machine's matrix product, the growth of the cost, and
a profile of a step (benchmarks/profile.py). Without PyTorch it times this project alone and writes nothing.
Writes benchmarks/throughput.json, .md and .png.
"""

import importlib.util
import statistics
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.baselines import VOCABULARY, Case
from benchmarks.profile import profile, profile_page
from src.common.files import PROJECT, write_json, write_text
from src.rnn.parameters import RNNConfig
from src.tracking.environment import environment

THREADS = 2
ROUNDS = 7
SECONDS = 0.6  # one round of a program
HERE = Path(__file__).parent

TRAINING = [
    (Case("rnn", 128, 20, 64), 3.5),
    (Case("rnn", 128, 20, 1), 8.0),
    (Case("rnn", 256, 64, 64), 1.8),
    (Case("rnn", 512, 64, 64), 1.6),
    (Case("lstm", 128, 64, 64), 1.3),
    (Case("lstm", 256, 64, 64), 1.3),
    (Case("lstm", 512, 64, 64), 1.5),
    (Case("gru", 128, 64, 64), 1.3),
    (Case("gru", 256, 64, 64), 1.3),
    (Case("gru", 512, 64, 64), 1.3),
]
# From the equations as they stand to the training loop: each program adds one optimization to the one before.
OPTIMIZATIONS = {
    "reference-float64": "the equations step by step (`src/rnn/reference.py`), float64",
    "reference": "float32 instead of float64",
    "untiled": "look-up instead of one-hot products, buffers, one product for all time steps",
    "numpy": "matrix products in tiles and chunks that fit the processor cache",
}
OPTIMIZED = [Case("rnn", 128, 20, 64, threads=1)] + [Case(c, 128, 64, 64, threads=1) for c in ("gru", "lstm")]
SAMPLING = [(Case("rnn", 128, 1, 1), 5.0), (Case("lstm", 128, 1, 1), 5.0), (Case("rnn", 128, 1, 64), None)]
SCALING = {
    "seq_len": [Case("rnn", 128, n, 64) for n in (16, 32, 64, 128, 256)],
    "batch": [Case("rnn", 128, 64, n) for n in (32, 64, 128, 256)],
    "layers": [Case("rnn", 128, 64, 64, n) for n in (1, 2, 3, 4)],
}


class Program:
    """One program that waits for its turn."""

    def __init__(self, name: str, case: Case, per_step: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.baselines", name, *case.words()],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.per_step = per_step
        self.seconds(3)
        self.count = max(2, round(SECONDS / (self.seconds(5) / 5)))

    def seconds(self, steps: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def rate(self) -> float:
        """Return `per_step` per second over one round."""
        return self.count * self.per_step / self.seconds(self.count)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def rates(names: list[str], case: Case, per_step: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the rate of each program in each round, in alternating order."""
    programs = {name: Program(name, case, per_step) for name in names}
    measured: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names if k % 2 else reversed(names):
            measured[name].append(programs[name].rate())
    for program in programs.values():
        program.close()
    return measured


def against(ours: str, theirs: str | None, case: Case, per_step: int) -> dict[str, Any]:
    """Return medians, and the ratio of each round."""
    measured = rates([ours, theirs] if theirs else [ours], case, per_step)
    row: dict[str, Any] = {"case": vars(case), "ours": statistics.median(measured[ours])}
    if theirs:
        ratios = sorted(a / b for a, b in zip(measured[ours], measured[theirs], strict=True))
        row |= {"theirs": statistics.median(measured[theirs]), "ratio": statistics.median(ratios)}
        row |= {"ratio_min": ratios[0], "ratio_max": ratios[-1]}
    return row


def operations(case: Case) -> int:
    """Return the floating-point operations of the matrix products of a training step: forward and twice that
    backward."""
    a = RNNConfig(VOCABULARY, case.hidden, case.cell, case.layers)
    recurrent = a.layers * a.gates * a.hidden**2 + (a.layers - 1) * a.gates * a.hidden**2
    return 3 * 2 * case.seq_len * case.batch * (recurrent + a.hidden * a.vocab)


def measure(peer: str | None) -> dict[str, Any]:
    """Measure everything, in the order of the page."""
    torch = "torch" if peer else None
    found: dict[str, Any] = {"training": [], "sampling": [], "scaling": {}}
    size = 1024
    product = rates(["sgemm"], Case("rnn", size, 1, 1, threads=THREADS), 2 * size**3, 3)["sgemm"]
    found["sgemm_gflops"] = statistics.median(product) / 1e9
    for case, target in TRAINING:
        row = against("numpy", torch, case, case.seq_len * case.batch) | {"target": target}
        per_character = operations(case) / (case.seq_len * case.batch)
        row["sgemm_share"] = row["ours"] * per_character / 1e9 / found["sgemm_gflops"]
        found["training"].append(row)
        print(training_line(row), flush=True)
    found["optimizations"] = []
    for case in OPTIMIZED:
        measured = rates(list(OPTIMIZATIONS), case, case.seq_len * case.batch, 5)
        medians = {name: statistics.median(each) for name, each in measured.items()}
        # The last optimization is more processes: the row of the same sizes above.
        medians["workers"] = next(
            row["ours"] for row in found["training"] if row["case"] == vars(replace(case, threads=THREADS))
        )
        found["optimizations"].append({"case": vars(case), "rates": medians})
        print(*optimization_lines(found["optimizations"][-1]), sep="\n", flush=True)
    case = Case("rnn", 128, 20, 64)
    found["naive"] = against("numpy", "naive", case, case.seq_len * case.batch) | {"target": 10.0}
    print(training_line(found["naive"] | {"sgemm_share": 0.0}), flush=True)
    for case, goal in SAMPLING:
        theirs = "torch-sample" if peer else None
        found["sampling"].append(against("numpy-sample", theirs, case, case.batch) | {"target": goal})
        print(sampling_line(found["sampling"][-1]), flush=True)
    for key, cases in SCALING.items():
        found["scaling"][key] = [
            {"case": vars(c), "seconds": 1 / statistics.median(rates(["numpy"], c, 1, 5)["numpy"])}
            for c in cases
        ]
    found["profile"] = [profile(case) for case, _ in TRAINING]
    return found


def ratio(row: dict[str, Any]) -> str:
    if "ratio" not in row:
        return "- | -"
    return f"{row['theirs']:,.0f} | **{row['ratio']:.2f}** ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"


def training_line(row: dict[str, Any]) -> str:
    c = row["case"]
    return (
        f"| {c['cell']} | {c['hidden']}, {c['seq_len']}, {c['batch']} | {row['ours']:,.0f} | {ratio(row)} | "
        f"{row['target']} | {row['sgemm_share']:.0%} |"
    )


def optimization_lines(row: dict[str, Any]) -> list[str]:
    """Return one line of the table for each optimization, with its speed-up over the line before."""
    c, before, lines = row["case"], None, []
    names = OPTIMIZATIONS | {"workers": f"{THREADS} processes instead of one"}
    for name, rate in row["rates"].items():
        gain = f"{rate / before:.2f}" if before else "-"
        lines.append(f"| {c['cell']} | {names[name]} | {rate:,.0f} | {gain} |")
        before = rate
    return lines


def sampling_line(row: dict[str, Any]) -> str:
    c, target = row["case"], row["target"] or "-"
    return f"| {c['cell']} {c['hidden']} | {c['batch']} | {row['ours']:,.0f} | {ratio(row)} | {target} |"


def page(found: dict[str, Any], around: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Speed",
        "",
        f"Written by `make bench`. {around['processor']}, {THREADS} threads each (PyTorch: one process; "
        f"this project: {THREADS} processes of one BLAS thread each, for a batch large enough); NumPy "
        f"{around['packages']['numpy']}, PyTorch {around['torch']} (eager, fused Adam). Medians of {ROUNDS} "
        "rounds in which the programs take turns; the ratio is the median of the rounds' ratios, with the "
        "smallest and the largest.",
        "",
        "## Training",
        "",
        "Complete training steps (batch, forward, backward, clip, Adam), in characters per second. The last "
        "column is the speed of the matrix products, as a share of the speed of one large float32 product "
        f"on this machine (1024 x 1024, {found['sgemm_gflops']:.0f} GFLOP/s).",
        "",
        'The targets were set by this project. "Parts of a training step" below shows what limits the speed '
        "where a target is missed.",
        "",
        "| cell | hidden, seq_len, batch | this project | PyTorch | ratio | target | of sgemm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(training_line, found["training"]),
        "",
        "![ratios](throughput.png)",
        "",
        "## What each optimization saves",
        "",
        "The reference implementation is the mathematics without an optimization. Each line adds one; the "
        "last column is the speed as a multiple of the line before. Hidden 128, batch 64, seq_len 20 (rnn) "
        "or 64; one process with one BLAS thread, except in the last line of each cell.",
        "",
        "| cell | optimization | characters per second | times the line before |",
        "| --- | --- | --- | --- |",
        *(line for row in found["optimizations"] for line in optimization_lines(row)),
        "",
        "## Compared with a naive RNN",
        "",
        "A naive RNN reads one sequence at a time, with one-hot columns and Python loops, as in most "
        f"tutorials (rnn, hidden 128, seq_len 20): {found['naive']['theirs']:,.0f} characters per second. "
        f"This project reads {found['naive']['ours']:,.0f} in batches of 64, "
        f"**{found['naive']['ratio']:.0f}** times as many (target 10).",
        "",
        "## Sampling",
        "",
        "| cell | streams | this project | PyTorch | ratio | target |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(sampling_line, found["sampling"]),
        "",
        "## Scaling",
        "",
        "Time of a training step (rnn, hidden 128; seq_len 64, batch 64 and 1 layer unless varied), and this "
        "time divided by the size: constant if the cost is linear.",
        "",
        "| varied | size | milliseconds | milliseconds / size |",
        "| --- | --- | --- | --- |",
    ]
    for key, rows in found["scaling"].items():
        for row in rows:
            size, ms = row["case"][key], 1e3 * row["seconds"]
            lines.append(f"| {key} | {size} | {ms:.2f} | {ms / size:.4f} |")
    lines += ["", *profile_page(found["profile"], found["training"])]
    return "\n".join(lines) + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw ratios and targets as bars."""
    from matplotlib.figure import Figure

    rows = found["training"]
    names = ["{cell} {hidden}, {seq_len}, {batch}".format(**row["case"]) for row in rows]
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    ax = figure.add_subplot()
    ax.barh(names, [row["ratio"] for row in rows], color="0.7", label="measured")
    ax.plot([row["target"] for row in rows], range(len(rows)), "k|", markersize=14, label="target")
    ax.axvline(1, color="k", linestyle=":", linewidth=1)
    ax.invert_yaxis()
    ax.set_xlabel("characters per second, times PyTorch's")
    ax.set_ylabel("cell, hidden, seq_len, batch")
    ax.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    peer = version("torch") if importlib.util.find_spec("torch") else None
    if peer is None:
        print("PyTorch is not installed: timing this project alone (make bench installs it)", file=sys.stderr)
    found = measure(peer)
    around = {**environment(), "torch": peer}
    if peer:
        write_json(HERE / "throughput.json", {**found, "environment": around})
        write_text(HERE / "throughput.md", page(found, around))
        draw(found, HERE / "throughput.png")


if __name__ == "__main__":
    main()
