"""What a run ran on: everything beside config and seed that its bits depend on."""

import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from src.lab.parallel import available_cores

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("numpy", "hydra-core", "omegaconf", "mlflow", "safetensors", "matplotlib")


def environment() -> dict[str, Any]:
    """Versions, processor, BLAS, commit and the lock's digest, ready for JSON."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "blas": [
            {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": bool(git("status", "--porcelain")),
        "lock_sha256": digest(PROJECT / "requirements.lock"),
        "command": " ".join(sys.orig_argv[1:]),
    }


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
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None
