"""Commands in processes that are forked from one that has imported what they need (tests/fork_server.py)."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
TIME_LIMIT = 1200  # seconds before a command counts as hung: no test may depend on the speed of the machine
# What a training prints last, for scripts.
SUMMARY = r"^test/bpc=\d+\.\d+ val/loss=\d+\.\d+ chars/s=\d+ steps=\d+ run=[\w-]+$"


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: exit status, standard output, standard error."""

    rc: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line of standard error, where there is to be one and no more."""
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, f"expected one line on standard error, got {lines}"
        return lines[0]


def environ(**extra: str) -> dict[str, str]:
    """The environment of a child, without what would point it elsewhere."""
    excluded = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "HYDRA_FULL_ERROR")
    return {key: value for key, value in os.environ.items() if key not in excluded} | extra


def environ_without_coverage() -> dict[str, str]:
    """The environment of a child that has no room to write: what `make coverage` measures wants some."""
    return {key: value for key, value in environ().items() if not key.startswith("COVERAGE_")}


@dataclass
class Commands:
    """The forking process. said: a directory for what the commands say."""

    process: subprocess.Popen[str]
    output_dir: Path

    def __call__(
        self, module: str, *arguments: str, timeout: float = TIME_LIMIT, folder: Path = PROJECT
    ) -> CommandResult:
        """`python -m MODULE ARGUMENTS`, standing in `folder`."""
        number = len(
            list(self.output_dir.iterdir())
        )  # what a command left running may still write to its files
        out, err = self.output_dir / f"{number}.out", self.output_dir / f"{number}.err"
        request = {
            "module": module, "arguments": arguments, "folder": str(folder), "seconds": int(timeout),
            "environment": environ(PYTHONPATH=str(PROJECT)), "out": str(out), "err": str(err),
        }  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return CommandResult(int(self.process.stdout.readline()), out.read_text(), err.read_text())


@contextmanager
def forked_commands() -> Iterator[Commands]:
    with (
        tempfile.TemporaryDirectory() as output_dir,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"], cwd=PROJECT,
            env=environ(PYTHONPATH=str(PROJECT)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Commands(process, Path(output_dir))
        process.stdin.close()
