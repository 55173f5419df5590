"""Digits of the scores that agree between processors: the default config with the kernels of each family.

    make bench-reliability  (or python -m benchmarks.kernels)

OpenBLAS and NumPy's loops select their code by the processor; OPENBLAS_CORETYPE and NPY_DISABLE_CPU_FEATURES
select the code of an older one. Each training runs with one and with two BLAS threads, which must give the
same bits. Writes benchmarks/kernels.json.
"""

import json
import subprocess
import sys
import tempfile
from itertools import combinations
from math import inf, log10
from pathlib import Path
from typing import Any

from src.common.files import PROJECT, write_json
from src.tracking.environment import environment
from tests.kernels import Processor, available
from tests.kernels import environment as environment_of

RESULT = Path(__file__).with_name("kernels.json")
SCORES = ("val/loss", "test/bpc", "test_stateless/bpc", "test/accuracy", "test/ece")
THREADS = (1, 2)


def trained(processor: Processor, threads: int, folder: Path, *arguments: str) -> dict[str, Any]:
    """Train with the kernels of a processor; return scores, digest of the weights and the numerics."""
    places = (f"output_dir={folder / f'{processor.core_type}-{threads}'}", f"data_dir={folder / 'data'}")
    subprocess.run(
        [sys.executable, "-m", "src.train", *arguments, *places, "tracking=none"],
        cwd=PROJECT, env=environment_of(processor, threads), check=True, capture_output=True,
    )  # fmt: skip
    (run,) = (folder / f"{processor.core_type}-{threads}" / "runs").iterdir()
    scores = json.loads((run / "scores.json").read_text())
    around = json.loads((run / "environment.json").read_text())
    return {"scores": scores, "numerics": around["numerics"]}


def digits(a: float, b: float) -> float:
    """Return the significant decimal digits to which two numbers agree; infinite for equal ones."""
    return inf if a == b else -log10(abs(a - b) / max(abs(a), abs(b)))


def agreement(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return whether two runs have the same bits, and the digits to which each score agrees, None for all."""
    pairs = {name: digits(one["scores"][name], other["scores"][name]) for name in SCORES}
    same = one["scores"]["weights_sha256"] == other["scores"]["weights_sha256"]
    return {
        "same_weights": same,
        "digits": {name: None if value == inf else round(value, 1) for name, value in pairs.items()},
    }


def measure(folder: Path, *arguments: str) -> dict[str, Any]:
    """Train once per family of kernels and number of threads, and compare every pair of families."""
    found: dict[str, dict[str, Any]] = {}
    threads_matter = []
    for processor in available():
        each = [trained(processor, threads, folder, *arguments) for threads in THREADS]
        found[processor.core_type] = each[0]
        if any(one["scores"] != each[0]["scores"] for one in each):
            threads_matter.append(processor.core_type)
        print(f"{processor.core_type}: test/bpc {each[0]['scores']['test/bpc']:.6f}", flush=True)
    return {
        "families": {
            name: {"numerics": one["numerics"], **{key: one["scores"][key] for key in SCORES}}
            for name, one in found.items()
        },
        "threads_matter": threads_matter,
        "pairs": [{"families": [a, b], **agreement(found[a], found[b])} for a, b in combinations(found, 2)],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(Path(temporary))
    for pair in found["pairs"]:
        print(f"{' and '.join(pair['families'])}: digits {pair['digits']}")
    around = environment()
    write_json(RESULT, {**found, **{key: around[key] for key in ("processor", "cores", "packages")}})


if __name__ == "__main__":
    main()
