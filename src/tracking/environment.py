"""Environment of a run: versions, hardware and numerics, and the digests of the code and of its job."""

import hashlib
import inspect
import json
import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from src.common.files import PROJECT
from src.common.process import available_cores
from src.config.constraints import TARGET_GROUPS, find_class
from src.config.schema import Config, flatten

# Packages whose versions are logged.
REPORTED = ("numpy", "hydra-core", "omegaconf", "mlflow", "safetensors", "matplotlib")
SOURCE = Path(__file__).resolve().parents[1]
# Code that determines a result: packages, and modules next to the commands.
PACKAGES = ("common", "rnn", "data", "models", "generation", "evaluation", "diagnostics", "training")
MODULES = ("final_evaluation.py", "runner.py")


def environment(workers: int | None = None) -> dict[str, Any]:
    """Describe versions, processor, numerics, commit and the digests of lock and code, ready for JSON.

    workers: processes that share a batch; None where nothing is trained.
    """
    status = git("status", "--porcelain")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in REPORTED},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "numerics": numerics(workers),
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "lock_sha256": hash_file(PROJECT / "requirements.lock"),
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


def environment_tags(env: dict[str, Any]) -> dict[str, str]:
    """Return the parts of an environment that distinguish runs in MLflow's table, as tags."""
    numerics = env["numerics"]
    tags = {
        "mlflow.source.git.commit": env["git_commit"],
        "git_dirty": None if env["git_dirty"] is None else str(env["git_dirty"]).lower(),
        "code_sha256": env["code_sha256"],
        "lock_sha256": env["lock_sha256"],
        "data_digest": env.get("data_digest"),  # which runs `best` compares
        "processor": env["processor"],
        "blas": " ".join(filter(None, (numerics["blas"], numerics["blas_kernels"]))),
    }
    return {key: value for key, value in tags.items() if value}


def processor() -> str:
    """Return the processor's name, as far as the system gives it."""
    with suppress(OSError):
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if name := re.search(r"^model name\s*: *(.*)", cpuinfo, re.MULTILINE):
            return name[1].strip()
    return platform.processor()


def git(*arguments: str) -> str | None:
    """Run git in the project; its output, None where there is no git or no checkout."""
    try:
        return subprocess.check_output(
            ["git", *arguments], cwd=PROJECT, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def code_digest() -> str:
    """Return the SHA-256 over the name and the bytes of every module that a result depends on."""
    digest = hashlib.sha256()
    files = [file for part in PACKAGES for file in (SOURCE / part).rglob("*.py")]
    for file in sorted([*files, *(SOURCE / module for module in MODULES)]):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def job_digest(config: Config, corpus_digest: str) -> str:
    """Return the SHA-256 over what makes two jobs the same: config, data and code.

    The code is that of the project and, where `optimizer._target_` or `schedule._target_` names a class of
    the user's own, the file that defines it.
    """
    classes = [find_class(group, getattr(config, group)["_target_"]) for group in TARGET_GROUPS]
    sources = [Path(inspect.getfile(each)) for each in classes]
    own = [hash_file(file) for file in sources if not file.resolve().is_relative_to(SOURCE)]
    content = json.dumps([normalize(flatten(config)), corpus_digest, code_digest(), *own], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def hash_file(file: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def normalize(value: Any) -> Any:
    """Return a value of a config with its whole numbers as integers: 0 and 0.0 set a key to the same value.

    >>> normalize({"weight_decay": 0.0, "split": [0.5, 1.0], "stateful": False})
    {'weight_decay': 0, 'split': [0.5, 1], 'stateful': False}
    """
    match value:
        case dict():
            return {key: normalize(each) for key, each in value.items()}
        case list() | tuple():
            return [normalize(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
