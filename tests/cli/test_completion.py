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

from tests.commands import PROJECT, TIME_LIMIT, CommandResult, RunCli, environ, run_process


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
        ("train mod", ["model.", "model="]),
        ("train model=", ["model=gru", "model=lstm", "model=rnn"]),
        ("train model=g", ["model=gru"]),
        ("train hidden=", ["hidden=128"]),
        ("train model=lstm hidden=64 model.dr", ["model.dropout="]),
        ("train optimizer=sgd optimizer.", ["optimizer.weight_decay="]),
        ("train hidden=64,128 clip=1,5 --multirun see", ["seed="]),
        ("train hydra/launcher=j", ["hydra/launcher=joblib"]),
        ("train hydra/sw", ["hydra/sweeper="]),
        ("train data.split", ["data.split="]),
        ("train data.path=./READ", ["data.path=./README.md"]),
        ("train prompt='shall i", []),
        ("train prompt='shall i' tempera", ["temperature=", "temperatures="]),
        ("train --m", ["--multirun"]),
        ("ui --m", []),
        ("train qqq", []),
        ("sample top", ["top_k=", "top_p="]),
    ],
)
def test_completion_candidates(line: str, expected: list[str], complete: Callable[[str], list[str]]) -> None:
    assert complete(f".venv/bin/python3 -m src.{line}") == expected


@pytest.mark.slow
@pytest.mark.parametrize(("command", "key"), [("train", "hidden="), ("sample", "run="), ("ui", "port=")])
def test_empty_argument_completes_keys_of_command(
    command: str, key: str, complete: Callable[[str], list[str]]
) -> None:
    found = complete(f"python -m src.{command} ")
    assert {key, "output_dir=", "tracking=", "hydra/"} <= set(found)
    assert not [name for name in found if name.startswith(("schema", "variant"))]
    assert ("model=" in found) == (command == "train")


@pytest.mark.parametrize(
    ("arguments", "got"),
    [(("-sc", request), request) for request in ("install=fish", "query=zsh", "install", "hidden=3")]
    + [(("--shell-completion",), "got nothing")],
)
def test_unknown_completion_request_is_rejected(
    arguments: tuple[str, ...], got: str, run_cli: RunCli
) -> None:
    line = run_cli("train", *arguments).error_line
    assert re.fullmatch(f"train: --shell-completion: expected install=bash.*{got}.*", line)


class Terminal:
    """An interactive bash in the project's root; `python` is this interpreter."""

    def __init__(self) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.master, slave = pty.openpty()
        self.bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            cwd=PROJECT, env=environ(PATH=path, PS1="$ ", TERM="dumb"),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)

    def type(self, text: str, wanted: str) -> None:
        """Type a text and wait until bash prints another one."""
        os.write(self.master, text.encode())
        deadline, seen = time.monotonic() + TIME_LIMIT, ""
        while wanted not in seen:
            assert time.monotonic() < deadline, f"expected {wanted!r}, got {seen!r}"
            if select.select([self.master], [], [], 0.2)[0]:
                seen += os.read(self.master, 4096).decode(errors="replace").replace("\a", "")  # no bells

    def close(self) -> None:
        self.bash.kill()
        self.bash.wait()
        os.close(self.master)


@pytest.mark.slow
def test_tab_key_completes_in_bash() -> None:
    terminal = Terminal()
    try:
        terminal.type('eval "$(python -m src.train -sc install=bash)"; echo ins""talled\n', "installed\r\n")
        terminal.type("python -m src.tr\t", "src.train ")
        terminal.type("hid\t", "hidden=")
        terminal.type("64 model=g\t", "model=gru ")
        terminal.type("--multirun hydra/lau\tjob\t", "hydra/launcher=joblib ")
        # Ctrl-U clears the line; a Ctrl-C during a completion can be lost.
        terminal.type("\x15python -m src.train mod\t", "model")
        terminal.type("\t\t", "model=")  # no longer common prefix: bash lists both
    finally:
        terminal.close()


@pytest.fixture
def script(run_cli: RunCli) -> str:
    return run_cli("train", "-sc", "install=bash").check().out


def test_completion_can_be_uninstalled(script: str, run_cli: RunCli) -> None:
    uninstall = run_cli("train", "-sc", "uninstall=bash").out
    request = "complete -p python 2>/dev/null"
    process = run_process(["bash", "-c", f"{script}\n{request}\n{uninstall}\n{request} || echo none"]).check()
    assert re.fullmatch(r".*-F _char_rnn_complete python\nnone\n", process.out)
    assert not process.err


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("src.train ", {"python", "ran"}),
        ("src.experiments.results ", {"python"}),  # has no completion
        ("src.sync ", {"python"}),
        ("src.train data.path=./", {"python", "ran"}),  # no file "expanded"
    ],
)
def test_completion_runs_only_commands_that_support_it(
    line: str, files: set[str], script: str, tmp_path: Path
) -> None:
    """The candidates are literal texts: compgen -W would expand them."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\ntouch ran\necho 'data.path=./$(touch expanded)'\n")
    python.chmod(0o755)
    line = f"{python} -m {line}"
    complete = f"COMP_LINE='{line}' COMP_POINT={len(line)}; _char_rnn_complete"
    run_process(["bash", "-c", script + complete], cwd=tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == files
