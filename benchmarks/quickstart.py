"""Time from a clone to the first sample: environment with empty caches, training, text.

    make bench-quickstart  (or python -m benchmarks.quickstart)

Clones the committed files of this repository into a temporary directory, with empty caches of pip and uv, and
runs the commands of the README. The time of `make setup` is mostly that of the network and the disk. Writes
benchmarks/quickstart.json and its line in the README.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.files import PROJECT, write_block, write_json
from src.tracking.environment import environment

RESULT = Path(__file__).with_name("quickstart.json")
README = PROJECT / "README.md"
COMMANDS = {
    "clone": "git clone --quiet {project} clone",
    "setup": "make setup",
    "train": ".venv/bin/python -m src.train max_epochs=1",
    "sample": ".venv/bin/python -m src.sample run=latest",
}
WARNING = re.compile(r"warn|deprecat", re.IGNORECASE)
LARGEST = 12


@dataclass(frozen=True)
class Done:
    """A successful command. warnings: lines of the output with a warning."""

    seconds: float
    warnings: int
    output: str


def typed(command: str, folder: Path, environ: dict[str, str]) -> Done:
    began = time.perf_counter()
    done = subprocess.run(
        command.split(), cwd=folder, env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"expected `{command}` to end well, got {done.stdout[-2000:]}")
    warnings = [line for line in done.stdout.splitlines() if WARNING.search(line)]
    print(f"{seconds:7.1f} s  {command.partition(' {')[0]}", *warnings, sep="\n           ", flush=True)
    return Done(seconds, len(warnings), done.stdout)


def untouched(caches: Path) -> dict[str, str]:
    """Return the environment of a new user, except the location of packages."""
    own = ("VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if k not in own and not k.startswith("MLFLOW_")}
    return kept | {"PIP_CACHE_DIR": str(caches / "pip"), "UV_CACHE_DIR": str(caches / "uv")}


def megabytes(files: Iterator[Path]) -> float:
    """Return the size of the files; hard links count once."""
    sizes = {(s.st_dev, s.st_ino): s.st_size for f in files if (s := f.lstat()) and f.is_file()}
    return sum(sizes.values()) / 1e6


def largest(venv: Path) -> dict[str, float]:
    """Return the largest packages of an environment in MB, by their RECORD files."""
    sizes: dict[str, float] = {}
    for record in venv.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        site = record.parent.parent
        files = [site / line.split(",")[0] for line in record.read_text(encoding="utf-8").splitlines()]
        sizes[record.parent.name.partition("-")[0]] = megabytes(f for f in files if f.exists())
    ordered = sorted(sizes.items(), key=lambda pair: -pair[1])
    return {name: round(size, 1) for name, size in ordered[:LARGEST]}


def sentence(result: dict[str, Any]) -> str:
    """Return the sentence of the README."""
    seconds, warnings = result["seconds"], result["warnings"]
    commands = (
        "`git clone`, `make setup`, `python -m src.train max_epochs=1`, `python -m src.sample run=latest`"
    )
    return (
        f"The first sample takes {result['commands']} commands ({commands}), "
        f"{sum(seconds.values()):.0f} s with empty caches "
        f"({seconds['setup']:.0f} s of them for `make setup`) "
        f"and {result['environment_mb']:.0f} MB of disk space; "
        f"the commands print {warnings or 'no'} warning{'' if warnings == 1 else 's'}."
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        environ, clone = untouched(folder / "caches"), folder / "clone"
        done = {
            name: typed(
                command.format(project=PROJECT), folder if name == "clone" else clone, environ
            )
            for name, command in COMMANDS.items()
        }  # fmt: skip
        venv = clone / ".venv"
        around = environment()
        result = {
            "seconds": {name: ended.seconds for name, ended in done.items()},
            "commands": len(COMMANDS),
            "warnings": sum(ended.warnings for ended in done.values()),
            "environment_mb": megabytes(venv.rglob("*")),
            "cache_mb": megabytes((folder / "caches").rglob("*")),
            "largest_packages_mb": largest(venv),
            "sample_characters": len(done["sample"].output),
            "git_commit": around["git_commit"],
            "python": around["python"],
            "processor": around["processor"],
            "cores": around["cores"],
        }
    write_json(RESULT, result)
    print(json.dumps(result["largest_packages_mb"], indent=2))
    print(sentence(result))
    write_block(README, "quickstart", sentence(result))


if __name__ == "__main__":
    main()
