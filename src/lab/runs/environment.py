"""What a run ran on: everything beside config and seed that its bits depend on."""

import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from src.lab.learning.parallel import available_cores
from src.lab.runs.digests import code_digest

PROJECT = Path(__file__).resolve().parents[3]
PACKAGES = ("numpy", "hydra-core", "omegaconf", "mlflow", "safetensors", "matplotlib")


def environment() -> dict[str, Any]:
    """Versions, processor, BLAS, commit and the digests of lock and code, ready for JSON."""
    status = git("status", "--porcelain")
    numpy_built = np.show_config(mode="dicts")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "simd": numpy_built.get("SIMD Extensions", {}).get("found", []),
        "cores": available_cores(),
        "blas": blas(),
        "numpy_blas": numpy_built.get("Build Dependencies", {}).get("blas", {}).get("name"),
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "lock_sha256": digest(PROJECT / "requirements.lock"),
        "code_sha256": code_digest(),
        "command": " ".join(sys.orig_argv[1:]),
    }


def blas() -> list[dict[str, Any]]:
    """NumPy's BLAS and its threads now; none where the library cannot be asked (Apple's Accelerate).

    NumPy is there before anything else that brings a BLAS along (SciPy, by way of MLflow), and the pools are
    listed in the order in which they were loaded.
    """
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    known = ("internal_api", "version", "architecture", "num_threads")
    return [{key: pool.get(key) for key in known} for pool in pools[:1]]


def tags_of(around: dict[str, Any]) -> dict[str, str]:
    """What of an environment helps to tell two runs apart in a tracker's table."""
    libraries = [f"{b['internal_api']} {b['version']} {b['architecture']}" for b in around["blas"]]
    threads = [str(b["num_threads"]) for b in around["blas"]]
    told = {
        "mlflow.source.git.commit": around["git_commit"],
        "git_dirty": None if around["git_dirty"] is None else str(around["git_dirty"]).lower(),
        "code_sha256": around["code_sha256"],
        "lock_sha256": around["lock_sha256"],
        "processor": around["processor"],
        "blas": ", ".join(libraries) or around["numpy_blas"],
        "blas_threads": ", ".join(threads),
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
