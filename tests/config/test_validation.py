"""Bad input through the real commands, as one table: a line that helps, an exit status, and nothing lost.

Each case runs `python -m src.COMMAND` in a child process (tests/fork_server.py spares it the imports). The
line says what was expected and what came, and names the key or the file; no traceback; the exit status is not
0; files that were there are as they were, and nothing half-written stands beside them.
"""

import hashlib
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.common.file_lock import Lock
from src.common.files import CONF
from src.config.constraints import TARGET_GROUPS, fields_of
from src.config.schema import COMMANDS
from tests.commands import PROJECT, Commands, environ
from tests.invalid_inputs.case import PLACES, ROOT, TINY, VERSE, Case
from tests.invalid_inputs.command_lines import SYNTAX
from tests.invalid_inputs.damaged import REFUSED_CORPORA, REFUSED_RUNS
from tests.invalid_inputs.elsewhere import REFUSED_DELIVERIES, REFUSED_PLACES, REFUSED_TRAININGS
from tests.invalid_inputs.resumption import REFUSED_RESUMPTIONS
from tests.invalid_inputs.schema import schema_cases
from tests.invalid_inputs.texts import REFUSED_TEXTS

pytestmark = pytest.mark.slow

STAGE = re.compile(r"\[\d/4\] ")
HAND_MADE = [
    *REFUSED_TEXTS, *REFUSED_CORPORA, *REFUSED_RUNS, *REFUSED_PLACES, *REFUSED_DELIVERIES, *REFUSED_TRAININGS,
    *REFUSED_RESUMPTIONS, *SYNTAX,
]  # fmt: skip
SCHEMA = list(schema_cases())


@pytest.fixture(scope="module")
def finished(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, and a finished run on it in outputs/runs/first."""
    root = tmp_path_factory.mktemp("finished")
    (root / "text.txt").write_text(VERSE * 100)
    ended = command("src.train", *TINY, *PLACES, folder=root)
    assert ended.rc == 0, ended.err
    (folder,) = (root / "outputs" / "runs").iterdir()
    folder.rename(folder.with_name("first"))
    return root


def tree(root: Path) -> dict[str, str]:
    """What lies below a directory: a file's digest, where a link leads, `/` of a directory, `|` of a pipe."""
    told = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(".lock.owner"):  # the owner note of a lock: every holder writes its own
            continue
        name = str(path.relative_to(root))
        if path.is_symlink():
            told[name] = f"-> {os.readlink(path)}"
        else:
            told[name] = "/" if path.is_dir() else "|"
            if path.is_file():
                told[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return told


def unfinished(root: Path, names: set[str]) -> None:
    """New runs look like what they are: no scores, and a journal that ends with FAILED."""
    for name in names:
        if name.endswith("events.jsonl"):
            last = json.loads((root / name).read_text().splitlines()[-1])
            assert (last["kind"], last["status"]) == ("end", "FAILED")
        assert not name.endswith("scores.json"), name


@pytest.mark.parametrize("case", [*HAND_MADE, *SCHEMA], ids=lambda case: case.id)
def test_bad_input_is_a_line_and_a_status_and_nothing_is_lost(
    case: Case, command: Commands, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    if case.run:
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
    ended = command(f"src.{case.command}", *case.arguments, folder=root)
    for path in locked:
        path.chmod(0o600)
    if isinstance(holder, Lock):
        holder.release()
    assert ended.rc == case.status, ended
    assert "Traceback" not in ended.err + ended.out
    (line,) = [line for line in ended.err.splitlines() if not STAGE.match(line)]
    assert line.startswith(f"{case.command}: ")
    for words in ("expected", "got", *case.says):
        assert words in line
    assert len(line) < 700
    after = tree(root)
    kept = {name: what for name, what in before.items() if not (case.makes and what.startswith("->"))}
    assert {name: after.get(name) for name in kept} == kept
    made = set() if locked else after.keys() - before.keys()
    allowed = {str(path.relative_to(root)) for pattern in case.makes for path in root.glob(pattern)}
    assert made <= allowed
    assert not [name for name in made if Path(name).name.startswith(".") or name.endswith(".tmp")]
    unfinished(root, made)


def test_the_table_is_long_and_has_every_key() -> None:
    assert len(HAND_MADE) >= 100
    keys = {argument.partition("=")[0] for case in SCHEMA for argument in case.arguments}
    for kind in COMMANDS.values():
        texts = {
            name for name, f in fields_of(kind).items() if getattr(f.validator, "kind", "") in ("a text", "")
        }
        assert fields_of(kind).keys() - texts <= {key.rpartition(".")[2] for key in keys}
    for group in TARGET_GROUPS:
        names = {
            k
            for file in (CONF / group).glob("*.yaml")
            for k in re.findall(r"(?m)^([a-z]\w*):", file.read_text())
        }
        assert {f"{group}.{name}" for name in names} <= keys
    assert len({case.id for case in [*HAND_MADE, *SCHEMA]}) == len([*HAND_MADE, *SCHEMA])


@pytest.mark.parametrize(
    "case", [REFUSED_TEXTS[0], REFUSED_CORPORA[0], REFUSED_DELIVERIES[0]], ids=lambda c: c.id
)
def test_a_process_of_its_own_says_the_same(
    case: Case, command: Commands, tmp_path: Path, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "root", symlinks=True)
    case.prepare(tmp_path / "root")
    forked = command(f"src.{case.command}", *case.arguments, folder=tmp_path / "root")
    fresh = subprocess.run(
        [sys.executable, "-m", f"src.{case.command}", *case.arguments], cwd=tmp_path / "root",
        env=environ(PYTHONPATH=str(PROJECT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (forked.rc, forked.out, forked.err)


@pytest.mark.parametrize("command", ["ui", "server", "play"])
def test_servers_bind_to_the_loopback_unless_told_otherwise(command: str, typed: Callable[..., Any]) -> None:
    configs: list[Any] = []
    assert typed(command, body=configs.append).rc == 0
    assert ipaddress.ip_address(configs[0].host).is_loopback
