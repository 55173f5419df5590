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
    """Describe versions, processor, numerics, commit and the digests of lock file and code, ready for JSON.

    Args:
        workers: Number of processes that share a batch; None (the default) where nothing is trained.

    Returns:
        The content of environment.json. Its entry `numerics` is the result of the function of this name, the
        digests are SHA-256 in hexadecimal, and the entries of git are None where there is no checkout.
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
    """Describe everything that must be equal for the same config, data and code to give the same bits.

    Args:
        workers: Number of processes that share a batch, each with one BLAS thread; None where nothing is
            trained.

    Returns:
        `numpy`: its version. `simd`: the instruction sets that NumPy's own loops can use. `blas`: the library
        and its version. `blas_kernels`: the kernel family that the library chose for this processor
        (`Haswell`, `SkylakeX`, ...), None where it cannot be queried (Apple's Accelerate). `workers`: the
        argument.
    """
    built = np.show_config(mode="dicts")
    # The first is NumPy's: they are listed in the order of loading, and MLflow loads SciPy later.
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
    """Return the parts of an environment that distinguish runs in MLflow's table, as tags.

    Args:
        env: An environment (`environment`), for a run with the key `data_digest`.

    Returns:
        Tag name to text; an unknown part has no tag.
    """
    numerics = env["numerics"]
    tags = {
        "mlflow.source.git.commit": env["git_commit"],
        "git_dirty": None if env["git_dirty"] is None else str(env["git_dirty"]).lower(),
        "code_sha256": env["code_sha256"],
        "lock_sha256": env["lock_sha256"],
        "data_digest": env.get("data_digest"),  # `best` compares runs of the same digest
        "processor": env["processor"],
        "blas": " ".join(filter(None, (numerics["blas"], numerics["blas_kernels"]))),
    }
    return {key: value for key, value in tags.items() if value}


def processor() -> str:
    """Return the name of the processor, as far as the system gives it.

    Returns:
        The model name of /proc/cpuinfo; elsewhere that of `platform.processor`, which may be "".
    """
    with suppress(OSError):
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if name := re.search(r"^model name\s*: *(.*)", cpuinfo, re.MULTILINE):
            return name[1].strip()
    return platform.processor()


def git(*arguments: str) -> str | None:
    """Run git in the project.

    Args:
        *arguments: Arguments of the command line.

    Returns:
        The output without surrounding white space; None where git is missing, fails, or takes more than 10
        seconds, or the project is not a checkout.
    """
    try:
        return subprocess.check_output(
            ["git", *arguments], cwd=PROJECT, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def code_digest() -> str:
    """Return the digest of every module on which a result depends.

    Returns:
        SHA-256 of the names and bytes of the files, in hexadecimal; computed once per process.
    """
    digest = hashlib.sha256()
    files = [file for part in PACKAGES for file in (SOURCE / part).rglob("*.py")]
    for file in sorted([*files, *(SOURCE / module for module in MODULES)]):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def job_digest(config: Config, corpus_digest: str) -> str:
    """Return the digest of everything that makes two jobs the same: config, data and code.

    The code is that of the project and, where `optimizer._target_` or `schedule._target_` names a class
    outside of it, the file that defines this class.

    Args:
        config: Validated config of the run.
        corpus_digest: Digest of the prepared corpus.

    Returns:
        SHA-256 in hexadecimal.
    """
    classes = [find_class(group, getattr(config, group)["_target_"]) for group in TARGET_GROUPS]
    sources = [Path(inspect.getfile(each)) for each in classes]
    own = [hash_file(file) for file in sources if not file.resolve().is_relative_to(SOURCE)]
    content = json.dumps([normalize(flatten(config)), corpus_digest, code_digest(), *own], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def hash_file(file: Path) -> str | None:
    """Return the digest of a file.

    Args:
        file: The file, read as a whole.

    Returns:
        SHA-256 in hexadecimal; None where there is no such file.
    """
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def normalize(value: Any) -> Any:
    """Return a value of a config with its whole numbers as integers: 0 and 0.0 set a key to the same value.

    Args:
        value: A value that JSON can store, with nested dictionaries and lists.

    Returns:
        The same structure, with tuples as lists.

    Example:
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
