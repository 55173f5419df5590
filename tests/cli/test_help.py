"""`--help` of every command: complete, fast and without side effects."""

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

from src import sync
from src.cli.help import (
    BEGINNER_KEYS,
    COMMANDS,
    HIDDEN_KEYS,
    NO_SWEEP_COMMANDS,
    VISIBLE_KEYS,
    defaults,
    first_comment,
)
from src.common.files import CONF, PROJECT
from tests.commands import RunCli, run_process
from tests.conftest import CONFIG_NAMES


def yaml_keys(name: str) -> list[str]:
    """Return every key of conf/<name>.yaml as on the command line, with the keys of the default choices."""
    keys: list[str] = []
    for file in (CONF / f"{name}.yaml", CONF / "common.yaml"):
        keys += yaml.safe_load(file.read_text(encoding="utf-8")).keys() - {"defaults", "hydra"}
    for group, choice in defaults(CONF / f"{name}.yaml"):
        if choice == "null":  # no default choice
            continue
        keys += [f"{group}={file.stem}" for file in (CONF / group).glob("*.yaml")]
        group_config = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text(encoding="utf-8"))
        keys += [f"{group}.{key}" for key in group_config.keys() - {"defaults", *HIDDEN_KEYS}]
    return keys


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_keys_in_80_columns(name: str, run_cli: RunCli) -> None:
    short, long = (run_cli(name, option) for option in ("--help", "--help=all"))
    assert (short.rc, short.err, long.rc, long.err) == (0, "", 0, "")
    visible_keys = VISIBLE_KEYS.get(name)
    for key in yaml_keys(CONFIG_NAMES.get(name, name)):
        is_explained = re.search(rf"^ +{re.escape(key)}\b", long.out, re.MULTILINE) is not None
        assert is_explained == (visible_keys is None or re.split(r"[.=]", key)[0] in visible_keys), key
    assert ("  --multirun " in long.out) == (name not in NO_SWEEP_COMMANDS)
    assert "\n\n\n" not in long.out
    assert max(len(line) for line in (short.out + long.out).splitlines()) <= 80
    assert short.out.count("\n") < 24  # the shell prompt needs the last line
    assert f"  python -m src.{name}" in short.out
    assert "  --help=all " in short.out
    assert re.findall(r"^  (\w+)=", short.out.partition("Keys\n")[2], re.MULTILINE) == COMMANDS[name][2]


def test_help_of_train_starts_with_beginner_keys() -> None:
    assert BEGINNER_KEYS == ["hidden", "seq_len", "lr", "clip", "max_epochs", "data"]
    assert COMMANDS["train"][2] is COMMANDS["pipeline"][2] is BEGINNER_KEYS
    assert len(COMMANDS["train"][1]) == 3


def test_unknown_help_option_is_rejected(run_cli: RunCli) -> None:
    result = run_cli("train", "--help=hidden")
    assert result.error_line == "train: expected --help or --help=all, got --help=hidden"


@pytest.mark.parametrize("name", ["sync", "gradcheck", "experiments.results"])
def test_help_has_no_side_effects(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (PROJECT / "README.md").stat().st_mtime_ns
    assert import_module(f"src.{name}").main(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"`python -m src.{name}")
    assert ("python -m src.sync all" in printed.out) == (name == "sync")
    assert (PROJECT / "README.md").stat().st_mtime_ns == readme


def test_unknown_option_of_sync_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.main(["--al"]) == 2
    assert capsys.readouterr() == ("", "sync: expected all or directories, got the option --al\n")


def test_comments_of_choices_are_full_sentences() -> None:
    for file in [file for part in (*CONF.iterdir(), *CONF.glob("hydra/*")) for file in part.glob("*.yaml")]:
        comment = first_comment(file)
        assert comment.endswith("."), file
        assert comment.count('"') % 2 == 0, file


def test_help_ignores_closed_pipe() -> None:
    """`--help | head -1` closes the pipe early."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", "src.train", "--help"],
            cwd=PROJECT,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, b"")


def test_help_imports_no_large_package() -> None:
    """The option works at any position, even next to invalid overrides."""
    program = (
        "import sys, runpy; sys.argv = ['train', 'hidden=0', '-h']; "
        "runpy.run_module('src.train', run_name='__main__'); "
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    process = run_process([sys.executable, "-c", program]).check()
    imported = set(process.err.split())
    assert "src" in imported
    assert not imported & {"hydra", "omegaconf", "mlflow", "numpy", "matplotlib"}
    assert "hidden=128" in process.out
