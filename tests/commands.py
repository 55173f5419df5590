"""Run commands in processes forked from one that has imported their packages (tests/fork_server.py)."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
TIME_LIMIT = 1200  # seconds until a command counts as hung; no test depends on speed
# The last line of a training run.
SUMMARY = r"^test/bpc=\d+\.\d+ val/loss=\d+\.\d+ chars/s=\d+ steps=\d+ run=[\w-]+$"


@dataclass(frozen=True)
class CommandResult:
    """Result of a command: exit status, standard output, standard error."""

    rc: int
    out: str
    err: str

    def check(self) -> "CommandResult":
        """Assert that the command succeeded, and return the result."""
        assert self.rc == 0, self.err
        return self

    @property
    def error_line(self) -> str:
        """The only line of standard error of a command that failed with exit status 2."""
        assert self.rc == 2, self.err
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, f"expected one line on standard error, got {lines}"
        return lines[0]


RunCli = Callable[..., CommandResult]


def run_process(arguments: list[str], **options: Any) -> CommandResult:
    """Run a process, by default in the project's root; options are those of subprocess.run."""
    options = {"cwd": PROJECT, "timeout": TIME_LIMIT, **options}
    process = subprocess.run(arguments, capture_output=True, text=True, check=False, **options)
    return CommandResult(process.returncode, process.stdout, process.stderr)


def run_command(*arguments: str) -> CommandResult:
    """Run `python -m ARGUMENTS` in the project's root in a new process."""
    return run_process([sys.executable, "-m", *arguments], env=environ())


def environ(**extra: str) -> dict[str, str]:
    """Return the environment of a child process without variables that change its configuration."""
    excluded = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "HYDRA_FULL_ERROR")
    return {key: value for key, value in os.environ.items() if key not in excluded} | extra


def environ_without_coverage() -> dict[str, str]:
    """Return the environment for a child with limited disk space: `make coverage` writes files."""
    return {key: value for key, value in environ().items() if not key.startswith("COVERAGE_")}


@dataclass
class Commands:
    """Client of the fork server.

    Attributes:
        output_dir: Directory for the output of the commands.
        project: The project, or a copy of it.
    """

    process: subprocess.Popen[str]
    output_dir: Path
    project: Path

    def __call__(
        self, module: str, *arguments: str, timeout: float = TIME_LIMIT, folder: Path | None = None,
        terminal: str = "", environment: dict[str, str] | None = None,
    ) -> CommandResult:  # fmt: skip
        """Run `python -m MODULE ARGUMENTS` in `folder`, by default in the project's root.

        The output goes to `terminal`, if it is given; then the result has none.
        """
        number = len(
            list(self.output_dir.iterdir())
        )  # background processes of earlier commands may still write
        out, err = self.output_dir / f"{number}.out", self.output_dir / f"{number}.err"
        request = {
            "module": module, "arguments": arguments, "folder": str(folder or self.project),
            "environment": environ(PYTHONPATH=str(self.project), **(environment or {})),
            "out": terminal or str(out), "err": terminal or str(err),
            "seconds": int(timeout),
        }  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        rc = int(self.process.stdout.readline())
        return CommandResult(rc, "", "") if terminal else CommandResult(rc, out.read_text(), err.read_text())


@contextmanager
def forked_commands(project: Path = PROJECT) -> Iterator[Commands]:
    with (
        tempfile.TemporaryDirectory() as output_dir,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"], cwd=project,
            env=environ(PYTHONPATH=str(project)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Commands(process, Path(output_dir), project)
        process.stdin.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
