"""Cost of a large text: time and memory of its preparation, and memory of training on it.

    python -m benchmarks.large_corpus          (or: ... SIZE, in MB; 1000 takes two minutes and 3 GB of disk)

Random words of the sonnets, as a text of SIZE MB and two smaller ones, go through the commands, each in a
process with one core. Memory is that of the process alone (RssAnon): the system can reclaim the pages of the
token file. Seconds are those of the whole command. Writes benchmarks/large_corpus.json.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from src.common.files import PROJECT, write_json
from src.data import sources
from src.tracking.environment import environment

RESULT = Path(__file__).with_name("large_corpus.json")
SMALL = 1  # MB: the text for comparison
KNOWN = 10  # MB: baselines and text metrics use at most 5 MB
SHARES = (0.1, 0.3, 1.0)  # share of SIZE, to check that the cost is linear
STEPS = 50
EVERY = 0.005  # seconds between two measurements of the memory
MB = 1_000_000
TRAINED = "[3/4]"  # printed at the start of the evaluation


def write_text(file: Path, size: int, seed: int = 1) -> None:
    """Write words of the sonnets with their frequencies, a dozen per line, up to `size` bytes."""
    (sonnets,) = sources.find("smallshake", None, file.parent).files
    words = np.array(sonnets.read_text().split(), dtype=object)
    rng = np.random.default_rng(seed)
    with file.open("wb") as out:
        while out.tell() < size:
            lines = rng.choice(words, (10_000, 12))
            piece = "".join(" ".join(line) + "\n" for line in lines.tolist()).encode()
            out.write(piece[: size - out.tell()])


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float  # CPU seconds of the one core
    peak_mb: float  # peak of the own memory
    training_mb: float  # peak before the evaluation


def cost_of(*command: str) -> Cost:
    """Run `python -m COMMAND` on one core and observe its memory from outside."""
    core = min(os.sched_getaffinity(0))
    start, used, peak, training, output = time.perf_counter(), cpu_of_children(), 0, 0, ""
    with (
        tempfile.NamedTemporaryFile("w+", encoding="utf-8") as log,
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", *command],
            cwd=PROJECT,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # buffers of BLAS threads do not count
            stdout=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        while process.poll() is None:
            peak = max(peak, own_memory(process.pid))
            output = Path(log.name).read_text(encoding="utf-8")
            training = training if TRAINED in output else peak
            time.sleep(EVERY)
    if process.returncode:
        raise RuntimeError(f"expected {' '.join(command)} to end well, got {output[-2000:]}")
    return Cost(time.perf_counter() - start, cpu_of_children() - used, peak / MB, training / MB)


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def own_memory(pid: int) -> int:
    """Return the bytes of a process's own memory; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def preprocess(text: Path, data_dir: Path) -> Cost:
    return cost_of("src.preprocess", "data=file", f"data.path={text}", f"data_dir={data_dir}")


def train(text: Path, data_dir: Path) -> Cost:
    """Train STEPS steps with two evaluations on a text, which is already prepared if it is large."""
    epochs = STEPS * 64 / (0.8 * text.stat().st_size)
    return cost_of(
        "src.train",
        "data=file",
        f"data.path={text}",
        f"data_dir={data_dir}",
        f"output_dir={data_dir.parent / 'outputs'}",
        "tracking=none",
        "workers=1",
        f"max_epochs={epochs:.9f}",
        "eval_every=25",
        "prompt='the '",
        "length=20",
    )


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(prefix="big-text-") as temporary:
        folder = Path(temporary)
        prepared, rows = {}, []
        for mb in (
            SMALL,
            SMALL,
            *(round(size * share) for share in SHARES),
        ):  # the first run fills the cache
            text = prepared[mb] = folder / f"{mb}.txt"
            data_dir = Path(tempfile.mkdtemp(dir=folder))
            write_text(text, mb * MB)
            cost, again = preprocess(text, data_dir), preprocess(text, data_dir)
            rows.append({"mb": mb, **asdict(cost), "seconds_once_prepared": again.seconds})
        small, *rows = rows[1:]
        for row in rows:
            row["mb_per_second"] = row["mb"] / row["seconds"]
            row["mb_per_cpu_second"] = row["mb"] / row["cpu_seconds"]
            row["extra_mb"] = row["peak_mb"] - small["peak_mb"]
            print(
                f"preprocess {row['mb']:>5} MB: {row['seconds']:.1f} s, {row['mb_per_second']:.1f} MB/s "
                f"({row['mb_per_cpu_second']:.1f} by CPU time), {row['extra_mb']:+.1f} MB of memory; once "
                f"prepared {row['seconds_once_prepared']:.1f} s ({SMALL} MB: {small['seconds']:.1f} s)",
                flush=True,
            )
        prepared[KNOWN] = folder / f"{KNOWN}.txt"
        write_text(prepared[KNOWN], KNOWN * MB)
        trained = {mb: train(prepared[mb], data_dir) for mb in (SMALL, KNOWN, size)}
    for mb, cost in trained.items():
        print(f"train on {mb} MB: {cost.training_mb:.1f} MB, {cost.peak_mb:.0f} MB with scores and baselines")
    around = environment()
    write_json(
        RESULT,
        {
            "preprocess": [small, *rows],
            "train_mb": {str(mb): cost.training_mb for mb, cost in trained.items()},
            "with_scores_mb": {str(mb): cost.peak_mb for mb, cost in trained.items()},
            "processor": around["processor"],
            "cores": around["cores"],
        },
    )


if __name__ == "__main__":
    main()
