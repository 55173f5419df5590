"""Commands in processes that are forked from one that has imported what they need (tests/forking.py)."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT, Ended, environ


@dataclass
class Commands:
    """The forking process."""

    process: subprocess.Popen[str]

    def run(self, module: str, arguments: tuple[str, ...], folder: Path, said: Path) -> Ended:
        """`python -m MODULE ARGUMENTS`, standing in `folder`. said: a directory for what it says."""
        out, err = said / "out", said / "err"
        asked = {
            "module": module, "arguments": arguments, "folder": str(folder), "out": str(out), "err": str(err)
        }  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Ended(int(self.process.stdout.readline()), out.read_text(), err.read_text())


@contextmanager
def forking(*modules: str) -> Iterator[Commands]:
    """modules: what is imported once for all commands; those of tests/forking.py if none is named."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forking", *modules], cwd=PROJECT,
        env=environ(PYTHONPATH=str(PROJECT), OPENBLAS_NUM_THREADS="1"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Commands(process)
        assert process.stdin
        process.stdin.close()
