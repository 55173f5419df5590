"""Invalid input through the real commands: one error line, an exit status, and no changed files.

Each case runs `python -m src.COMMAND` in a child process of tests/fork_server.py. The line says what was
expected and received, and names the key or the file. Existing files stay unchanged, and no incomplete file is
left.
"""

import hashlib
import ipaddress
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from src.common.file_lock import Lock
from src.config.constraints import fields_of
from src.config.schema import COMMANDS
from tests.commands import PROJECT, RunCli, environ, run_process
from tests.invalid_inputs.case import PATHS, ROOT, TINY, VERSE, Case
from tests.invalid_inputs.command_lines import INVALID_COMMAND_LINES
from tests.invalid_inputs.paths import FAILING_TRAININGS, INVALID_SYNCS, UNWRITABLE_PATHS
from tests.invalid_inputs.resume import INVALID_RESUMES
from tests.invalid_inputs.runs import REFUSED_CORPORA, REFUSED_RUNS
from tests.invalid_inputs.schema import schema_cases
from tests.invalid_inputs.texts import INVALID_TEXTS

pytestmark = pytest.mark.slow

STAGE = re.compile(r"\[\d/4\] ")
EXPLICIT_CASES = [
    *INVALID_TEXTS, *REFUSED_CORPORA, *REFUSED_RUNS, *UNWRITABLE_PATHS, *INVALID_SYNCS, *FAILING_TRAININGS,
    *INVALID_RESUMES, *INVALID_COMMAND_LINES,
]  # fmt: skip
SCHEMA_CASES = list(schema_cases())
CASES = [*EXPLICIT_CASES, *SCHEMA_CASES]


@pytest.fixture(scope="module")
def finished(command: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, and a finished run on it in outputs/runs/first."""
    root = tmp_path_factory.mktemp("finished")
    (root / "text.txt").write_text(VERSE * 100)
    command("src.train", *TINY, *PATHS, folder=root).check()
    (folder,) = (root / "outputs" / "runs").iterdir()
    folder.rename(folder.with_name("first"))
    return root


def tree(root: Path) -> dict[str, str]:
    """Return the content below a directory: digests of files, targets of links, `/` and `|` for directories
    and pipes."""
    entries = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(".lock.owner"):  # owner file of a lock
            continue
        name = str(path.relative_to(root))
        if path.is_symlink():
            entries[name] = f"-> {os.readlink(path)}"
        else:
            entries[name] = "/" if path.is_dir() else "|"
            if path.is_file():
                entries[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return entries


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_invalid_input_is_rejected_without_side_effects(
    case: Case, command: RunCli, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    if case.has_run:
        finished = request.getfixturevalue("finished")
        shutil.copytree(finished, root, symlinks=True)
        config = root / "outputs" / "runs" / "first" / "config.json"
        config.write_text(config.read_text().replace(str(finished), str(root)))
    else:
        root.mkdir()
        (root / "text.txt").write_text(VERSE * 100)
    holder = case.prepare(root)
    locked = [path for path in root.rglob("*") if path.is_file() and not os.access(path, os.R_OK)]
    assert not locked or not ROOT
    before = tree(root) if not locked else {}
    result = command(f"src.{case.command}", *case.arguments, folder=root)
    for path in locked:
        path.chmod(0o600)
    if isinstance(holder, Lock):
        holder.release()
    assert result.rc == 2, result
    assert "Traceback" not in result.err + result.out
    (line,) = [line for line in result.err.splitlines() if not STAGE.match(line)]
    assert line.startswith(f"{case.command}: ")
    for words in ("expected", "got", *case.expected):
        assert words in line
    assert len(line) < 700
    after = tree(root)
    unchanged = {name: what for name, what in before.items() if not (case.creates and what.startswith("->"))}
    assert {name: after.get(name) for name in unchanged} == unchanged
    created = set() if locked else after.keys() - before.keys()
    allowed = {str(path.relative_to(root)) for pattern in case.creates for path in root.glob(pattern)}
    assert created <= allowed
    assert not [name for name in created if Path(name).name.startswith(".") or name.endswith(".tmp")]
    assert not [name for name in created if name.endswith("scores.json")]
    for name in created:
        if name.endswith("events.jsonl"):
            last = json.loads((root / name).read_text().splitlines()[-1])
            assert (last["kind"], last["status"]) == ("end", "FAILED")


def test_cases_cover_every_key() -> None:
    assert len(EXPLICIT_CASES) >= 100
    keys = {argument.partition("=")[0] for case in SCHEMA_CASES for argument in case.arguments}
    for kind in COMMANDS.values():
        texts = {
            name for name, f in fields_of(kind).items() if getattr(f.validator, "kind", "") in ("a text", "")
        }
        assert fields_of(kind).keys() - texts <= {key.rpartition(".")[2] for key in keys}
    assert {"optimizer.beta1", "schedule.factor"} <= keys
    assert len({case.id for case in CASES}) == len(CASES)


def test_new_process_gives_same_output(command: RunCli, tmp_path: Path) -> None:
    case = INVALID_TEXTS[0]
    forked = command(f"src.{case.command}", *case.arguments, folder=tmp_path)
    arguments = [sys.executable, "-m", f"src.{case.command}", *case.arguments]
    assert run_process(arguments, cwd=tmp_path, env=environ(PYTHONPATH=str(PROJECT))) == forked


@pytest.mark.parametrize("command", ["ui", "server", "play"])
def test_servers_bind_to_loopback_by_default(command: str, run_cli: RunCli) -> None:
    configs: list[Any] = []
    assert run_cli(command, body=configs.append).rc == 0
    assert ipaddress.ip_address(configs[0].host).is_loopback
