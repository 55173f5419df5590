"""Start-up time of each command: from the shell to its help, its first training step or its first output.

    make bench-quickstart  (or python -m benchmarks.cold_start)

Each command runs several times in new processes; the median counts. `python -X importtime` and marks in the
program (benchmarks/startup_probe.py) split the time. Both slow the process down, so their shares are applied
to the time of a process without them:

- python: the interpreter, its standard library, NumPy;
- hydra: importing it, and composing the config;
- others: importing other packages (MLflow, if an alias is looked up);
- ours: importing src, and its own work until then.

Files are in the system's cache, as for the second command of a day. Writes benchmarks/cold_start.json and the
table of docs/commands.md.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src.cli.help import COMMANDS
from src.common.files import PROJECT, write_block, write_json
from src.tracking.environment import environment

ROUNDS = 5
BOUND = 1.0  # limit of the seconds of src
LOCAL_BOUND = 1.0  # limit of the seconds until a command that finds a run of this machine prints
RESULT = Path(__file__).with_name("cold_start.json")
PAGE = PROJECT / "docs" / "commands.md"
HYDRA = {"hydra", "omegaconf", "antlr4", "yaml", "hydra_plugins"}
PYTHON = set(sys.stdlib_module_names) | {"numpy", "site", "encodings", "sitecustomize"}
OURS = {"src", "benchmarks"}
IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
SMALL = ["hidden=16", "max_epochs=0.05", "length=40"]
SHARES = ("python", "hydra", "others", "ours")


@dataclass(frozen=True)
class Start:
    """Seconds from the shell to `until` (help, step or output), by kind."""

    command: str
    until: str
    seconds: float
    python: float
    hydra: float
    others: float
    ours: float


def kind_of(module: str) -> str:
    top = module.partition(".")[0]
    if top in HYDRA:
        return "hydra"
    if top in OURS:
        return "ours"
    return "python" if top in PYTHON else "others"


def shares(began: float, lines: list[str], until: str) -> dict[str, float]:
    """Return the seconds of each kind from the standard error of a measured command."""
    seconds = dict.fromkeys(SHARES, 0.0)
    now, since = {}, 0.0  # since: seconds of imports after the last mark
    composing = 0.0
    for line in lines:
        found = IMPORT.match(line)
        if found:
            took = int(found.group(1)) / 1e6
            seconds[kind_of(found.group(2))] += took
            since += took
        elif line.startswith("mark "):
            _, name, at = line.split()
            now[name] = float(at) - began
            if name == "python":  # the interpreter
                seconds["python"] += now[name] - since
            elif name == "body":
                composing = now[name] - now["compose"] - since
            since = 0.0
            if name == until:
                break
    seconds["hydra"] += composing
    seconds["ours"] += now[until] - sum(seconds.values())
    return {kind: value / now[until] for kind, value in seconds.items()}


def probed(arguments: list[str], until: str, *options: str) -> tuple[float, list[str]]:
    """Return the start time of the process and the lines of its standard error."""
    command = [sys.executable, *options, "-m", "benchmarks.startup_probe", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    if done.returncode or not any(line.startswith(f"mark {until} ") for line in lines):
        raise RuntimeError(f"expected {arguments} to come to its {until}, got {done.stderr[-2000:]}")
    return began, lines


def measured(name: str, arguments: list[str], until: str) -> Start:
    seconds, parts = [], []
    mark = "output" if until == "help" else until
    for _ in range(ROUNDS):
        began, lines = probed(arguments, mark)
        (at,) = [float(line.split()[2]) for line in lines if line.startswith(f"mark {mark} ")]
        seconds.append(at - began)
        parts.append(shares(*probed(arguments, mark, "-X", "importtime"), mark))
    whole = statistics.median(seconds)
    split = {kind: whole * statistics.median(part[kind] for part in parts) for kind in SHARES}
    start = Start(name, until, whole, **split)
    print(f"{name:<22} {until:<7} {whole:6.2f} s  " + "  ".join(f"{k} {v:.2f}" for k, v in split.items()))
    sys.stdout.flush()
    return start


def cases(folder: Path) -> list[tuple[str, list[str], str]]:
    """Return name, arguments and end of each measurement. Create a run for the commands that need one; this
    also prepares the corpus and compiles the modules."""
    places = [f"output_dir={folder / 'outputs'}", f"data_dir={folder / 'data'}"]
    probed(["train", *SMALL, *places], "step")
    helps = [(f"{c} --help", [c, "--help"], "help") for c in sorted([*COMMANDS, "sync"])]
    return [
        *helps,
        ("train", ["train", *SMALL, *places], "step"),
        ("pipeline", ["pipeline", *SMALL, *places], "step"),
        ("preprocess", ["preprocess", *places], "output"),
        ("evaluate run=latest", ["evaluate", "length=0", *places], "output"),
        ("sample run=latest", ["sample", "length=40", *places], "output"),
        ("export run=latest", ["export", *places], "output"),
        ("sample tracking=none", ["sample", "length=40", "tracking=none", *places], "output"),
    ]


def table(result: dict[str, Any]) -> str:
    """Return the table of docs/commands.md from the content of the JSON file."""
    words = {"help": "its help", "step": "the end of the first training step", "output": "the first output"}
    lines = ["| command | until | seconds | Python, NumPy | Hydra | other packages | ours |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in result["starts"]:
        parts = " | ".join(f"{row[kind]:.2f}" for kind in SHARES)
        lines.append(f"| `{row['command']}` | {words[row['until']]} | {row['seconds']:.2f} | {parts} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        starts = [measured(*case) for case in cases(Path(temporary))]
    worst = max(starts, key=lambda start: start.ours)
    held = worst.ours < BOUND
    print(f"ours: at most {worst.ours:.2f} s ({worst.command}), {'' if held else 'NOT '}under {BOUND:g} s")
    local = max((start for start in starts if "run=" in start.command), key=lambda start: start.seconds)
    verdict = "" if local.seconds < LOCAL_BOUND else "NOT "
    print(f"local: at most {local.seconds:.2f} s ({local.command}), {verdict}under {LOCAL_BOUND:g} s")
    around = environment()
    result: dict[str, Any] = {
        "ours_at_most": worst.ours,
        "bound": BOUND,
        "local_at_most": local.seconds,
        "local_bound": LOCAL_BOUND,
        "starts": [asdict(start) for start in starts],
        "processor": around["processor"],
        "cores": around["cores"],
    }
    write_json(RESULT, result)
    write_block(PAGE, "cold-start", "\n" + table(result))


if __name__ == "__main__":
    main()
