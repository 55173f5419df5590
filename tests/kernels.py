"""Run tests with the BLAS kernels of each OpenBLAS processor family that this processor can execute.

    python -m tests.kernels           fast numerical tests, with 1 and 2 BLAS threads each (make test-kernels)
    python -m tests.kernels --fast    the same on one other family only (part of make test)
    python -m tests.kernels --all     the whole suite, with 1 and 2 BLAS threads each

OPENBLAS_CORETYPE selects the kernels. NPY_DISABLE_CPU_FEATURES disables newer instruction sets in NumPy's own
loops (tanh, exp). The exit status is 1 if a run fails.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from threadpoolctl import threadpool_info

from tests.commands import PROJECT

# Tests of floating-point results.
NUMERICAL = (
    "common/test_process.py", "data", "rnn", "models", "generation", "evaluation", "diagnostics", "training",
    "experiments/test_rerun.py", "serving/test_pyfunc_package.py", "integration/test_determinism.py",
    "integration/test_pipeline.py", "integration/test_resume_bitwise.py",
    "integration/test_resume_finished.py",
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """A kernel family.

    Attributes:
        needs: Features of NumPy's list that its kernels execute.
        without: NumPy dispatch levels that such a processor lacks.
    """

    core_type: str
    needs: tuple[str, ...]
    without: tuple[str, ...]


PROCESSORS = (
    Processor("Prescott", ("SSE3",), ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")),
    Processor("Sandybridge", ("AVX",), ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR")),
    Processor("Haswell", ("AVX2", "FMA3"), ("X86_V4", "AVX512_ICL", "AVX512_SPR")),
    Processor("Zen", ("AVX2", "FMA3"), ("X86_V4", "AVX512_ICL", "AVX512_SPR")),
    Processor("SkylakeX", ("AVX512_SKX",), ("AVX512_ICL", "AVX512_SPR")),
)


def features() -> dict[str, bool]:
    """Return NumPy's list of the features of this processor."""
    # The public show_config lists only dispatch levels.
    return dict(import_module("numpy._core._multiarray_umath").__cpu_features__)


def kernels() -> str | None:
    """Return the kernel family of NumPy's BLAS in this process, None if unknown."""
    np.zeros(1)
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return str(pools[0]["architecture"]) if pools and "architecture" in pools[0] else None


def available() -> list[Processor]:
    """Return the processors whose kernels this machine can execute; none without x86 and OpenBLAS."""
    supported = features()
    return [p for p in PROCESSORS if kernels() and all(supported.get(name) for name in p.needs)]


def distinct(processors: list[Processor]) -> list[Processor]:
    """Return the first processor of each kernel family that this build of OpenBLAS loads.

    NumPy's wheels have no kernels of Zen: OpenBLAS loads those of Haswell.
    """
    program = "from tests.kernels import kernels; print(kernels())"
    families: dict[str, Processor] = {}
    for processor in processors:
        family = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT, env=environment(processor, 1),
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        if family in families:
            print(f"{processor.core_type} has the kernels of {families[family].core_type} here", flush=True)
        families.setdefault(family, processor)
    return list(families.values())


def environment(processor: Processor, threads: int) -> dict[str, str]:
    """Return the environment of a process with the kernels of a processor."""
    supported = features()
    disabled = " ".join(name for name in processor.without if supported.get(name))
    return {
        **os.environ,
        "OPENBLAS_CORETYPE": processor.core_type,
        "NPY_DISABLE_CPU_FEATURES": disabled,
        "OPENBLAS_NUM_THREADS": str(threads),
    }


def pytest(arguments: list[str], processor: Processor, threads: int) -> bool:
    """Run pytest with the kernels of a processor and return whether it passed."""
    print(f"OPENBLAS_CORETYPE={processor.core_type}, {threads} BLAS threads", flush=True)
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *arguments],
        cwd=PROJECT, env=environment(processor, threads), check=False,
    )  # fmt: skip
    return process.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels", description=__doc__.split("\n", 1)[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--fast", action="store_true", help="on one other processor only")
    choice.add_argument("--all", action="store_true", help="the whole suite instead of the numerical tests")
    options = parser.parse_args()
    supported = available()
    if not supported:
        print("no other kernels can be selected here: expected an x86 processor, and NumPy with OpenBLAS")
        return 0
    files = [] if options.all else ["-m", "not slow", *(f"tests/{name}" for name in NUMERICAL)]
    if options.fast:  # the closest family with different arithmetic
        others = [p for p in supported if p.core_type not in (kernels(), "Zen")]
        runs = [(p, 2) for p in others[-1:]]
    else:
        runs = [(processor, threads) for processor in distinct(supported) for threads in (1, 2)]
    failed = [f"{p.core_type} with {threads}" for p, threads in runs if not pytest(files, p, threads)]
    if failed:
        print(f"FAILED under {', '.join(failed)} BLAS threads")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
