"""Shell completion: the candidates of the query, and the TAB key in bash."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import PROJECT, TIME_LIMIT, CommandResult, RunCli, environ, run_command, run_process

PYTHON = Path(sys.executable)


@pytest.fixture
def complete(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return the candidates for a line, as bash queries them."""

    def run(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        result: CommandResult = run_cli(re.findall(r"src\.(\w+)", line)[0], "-sc", "query=bash")
        assert (result.rc, result.err) == (0, "")
        return result.out.split()

    return run


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -m src.train mod", ["model.", "model="]),
        ("python -m src.train model=", ["model=gru", "model=lstm", "model=rnn"]),
        ("python -m src.train model=g", ["model=gru"]),
        (".venv/bin/python3 -m src.train hid", ["hidden="]),
        ("python -m src.train hidden=", ["hidden=128"]),
        ("python -m src.train model=lstm hidden=64 model.dr", ["model.dropout="]),
        ("python -m src.train optimizer=sgd optimizer.", ["optimizer.weight_decay="]),
        ("python -m src.train hidden=64,128 clip=1,5 --multirun see", ["seed="]),
        ("python -m src.train hydra/launcher=j", ["hydra/launcher=joblib"]),
        ("python -m src.train hydra/sw", ["hydra/sweeper="]),
        ("python -m src.train data.split", ["data.split="]),
        ("python -m src.train data.path=./READ", ["data.path=./README.md"]),
        ("python -m src.train prompt='shall i", []),
        ("python -m src.train prompt='shall i' tempera", ["temperature=", "temperatures="]),
        ("python -m src.train --m", ["--multirun"]),
        ("python -m src.ui --m", []),
        ("python -m src.train qqq", []),
        ("python -m src.sample top", ["top_k=", "top_p="]),
    ],
)
def test_completion_candidates(line: str, expected: list[str], complete: Callable[[str], list[str]]) -> None:
    assert complete(line) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("command", "key"), [("train", "hidden="), ("sample", "run="), ("ui", "port=")])
def test_empty_argument_completes_keys_of_command(
    command: str, key: str, complete: Callable[[str], list[str]]
) -> None:
    found = complete(f"python -m src.{command} ")
    assert {key, "output_dir=", "tracking=", "hydra/"} <= set(found)
    assert not [name for name in found if name.startswith(("schema", "variant"))]
    assert ("model=" in found) == (command == "train")


@pytest.mark.parametrize("argument", ["install=fish", "query=zsh", "install", "hidden=3"])
def test_unknown_completion_request_is_rejected(argument: str, run_cli: RunCli) -> None:
    result = run_cli("train", "-sc", argument)
    assert result.error_line.startswith("train: --shell-completion: expected install=bash")
    assert argument in result.error_line


def test_missing_completion_request_is_rejected(run_cli: RunCli) -> None:
    assert run_cli("train", "--shell-completion").error_line.endswith("got nothing")


class Terminal:
    """An interactive bash in the project's root; `python` is this interpreter."""

    def __init__(self) -> None:
        path = f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
        self.master, slave = pty.openpty()
        self.bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            cwd=PROJECT, env=environ(PATH=path, PS1="$ ", TERM="dumb"),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.master, text.encode())

    def wait_for(self, wanted: str, seconds: float = TIME_LIMIT) -> None:
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            assert time.monotonic() < deadline, f"expected {wanted!r}, got {self.seen!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.seen += (
                    os.read(self.master, 4096).decode(errors="replace").replace("\a", "")
                )  # without bells

    def close(self) -> None:
        self.bash.kill()
        self.bash.wait()
        os.close(self.master)


@pytest.mark.slow
def test_tab_key_completes_in_bash() -> None:
    terminal = Terminal()
    try:
        terminal.type('eval "$(python -m src.train -sc install=bash)"; echo ins""talled\n')
        terminal.wait_for("installed\r\n")
        terminal.type("python -m src.tr\t")
        terminal.wait_for("src.train ")
        terminal.type("hid\t")
        terminal.wait_for("hidden=")
        terminal.type("64 model=g\t")
        terminal.wait_for("model=gru ")
        terminal.type("--multirun hydra/lau\tjob\t")
        terminal.wait_for("hydra/launcher=joblib ")
        # Ctrl-U clears the line; a Ctrl-C during a completion can be lost.
        terminal.type("\x15python -m src.train mod\t")
        terminal.wait_for("model")
        terminal.type("\t\t")  # no longer common prefix: bash lists both
        terminal.wait_for("model=")
    finally:
        terminal.close()


def test_completion_can_be_uninstalled() -> None:
    scripts = [run_command("src.train", "-sc", f"{what}=bash").out for what in ("install", "uninstall")]
    request = "complete -p python 2>/dev/null"
    process = run_process(
        ["bash", "-c", f"{scripts[0]}\n{request}\n{scripts[1]}\n{request} || echo none"]
    ).check()
    lines = process.out.splitlines()
    assert lines[0].endswith("-F _char_rnn_complete python")
    assert lines[1:] == ["none"]
    assert not process.err


@pytest.mark.parametrize(
    ("module", "runs"), [("train", True), ("experiments.results", False), ("sync", False)]
)
def test_completion_runs_only_commands_that_support_it(module: str, runs: bool, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    python.chmod(0o755)
    install = run_command("src.train", "-sc", "install=bash").out
    line = f"{python} -m src.{module} "
    subprocess.run(
        ["bash", "-c", install + f"COMP_LINE='{line}' COMP_POINT={len(line)}; _char_rnn_complete"],
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (tmp_path / "ran").exists() is runs


def test_completion_does_not_expand_candidates(tmp_path: Path) -> None:
    """compgen -W would expand a candidate; the function compares the text literally."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'data.path=./$(touch ran)'\n")
    python.chmod(0o755)
    install = run_command("src.train", "-sc", "install=bash").out
    line = f"{python} -m src.train data.path=./"
    subprocess.run(
        ["bash", "-c", install + f"COMP_LINE='{line}' COMP_POINT={len(line)}; _char_rnn_complete"],
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["python"]
