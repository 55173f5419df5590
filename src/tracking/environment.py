"""The environment of a run: versions, hardware, and what else its bits depend on besides config and data."""

import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from src.common.paths import PROJECT
from src.common.process import available_cores
from src.tracking.fingerprint import code_digest

PACKAGES = ("numpy", "hydra-core", "omegaconf", "mlflow", "safetensors", "matplotlib")


def environment(workers: int | None = None) -> dict[str, Any]:
    """Describe versions, processor, numerics, commit and the digests of lock and code, ready for JSON.

    workers: processes that share a batch; None where nothing is trained.
    """
    status = git("status", "--porcelain")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "numerics": numerics(workers),
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "lock_sha256": digest(PROJECT / "requirements.lock"),
        "code_sha256": code_digest(),
        "command": " ".join(sys.orig_argv[1:]),
    }


def numerics(workers: int | None) -> dict[str, Any]:
    """Describe what must be equal for the same config, data and code to give the same bits.

    numpy: its version. simd: the instruction sets that NumPy's own loops are dispatched to. blas: the
    library and its version. blas_kernels: the kernel family that the library chose for this processor
    (`Haswell`, `SkylakeX`, ...), None where it cannot be queried (Apple's Accelerate). workers: processes
    that share a batch; each has one BLAS thread.
    """
    built = np.show_config(mode="dicts")
    # NumPy's is the first: they are listed as they were loaded, and SciPy (by way of MLflow) comes later.
    pool = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), None)
    library = f"{pool['internal_api']} {pool['version']}" if pool else None
    return {
        "numpy": version("numpy"),
        "simd": built.get("SIMD Extensions", {}).get("found", []),
        "blas": library or built.get("Build Dependencies", {}).get("blas", {}).get("name"),
        "blas_kernels": pool.get("architecture") if pool else None,
        "workers": workers,
    }


def environment_tags(around: dict[str, Any]) -> dict[str, str]:
    """What of an environment helps to tell two runs apart in a tracker's table."""
    numerics = around["numerics"]
    told = {
        "mlflow.source.git.commit": around["git_commit"],
        "git_dirty": None if around["git_dirty"] is None else str(around["git_dirty"]).lower(),
        "code_sha256": around["code_sha256"],
        "lock_sha256": around["lock_sha256"],
        "data_digest": around.get("data_digest"),  # which runs `best` compares
        "processor": around["processor"],
        "blas": " ".join(filter(None, (numerics["blas"], numerics["blas_kernels"]))),
    }
    return {key: value for key, value in told.items() if value}


def processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def git(*arguments: str) -> str | None:
    """What git says of the project, or None where there is no git or no checkout."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def digest(file: Path) -> str | None:
    """SHA-256 of a file, None where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
