"""Runs that skip_finished=true resumes."""

import json
import shutil
from pathlib import Path
from typing import Any

import attrs
import pytest

from src.common.file_lock import acquire
from src.config.constraints import evolve
from src.config.schema import Config
from src.tracking.event_log import EventLog, read_lines
from src.tracking.run_store import open_store
from src.tracking.sync_state import STALE_REASON, SyncState
from src.training import checkpoint
from src.training.resume import find_interrupted, saved_config
from tests.checkpointed_job import JOB, STEPS, only_run
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = [ignore_mlflow_warnings, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained_untracked(command: RunCli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an untracked run of 60 steps."""
    root = tmp_path_factory.mktemp("alone")
    path_overrides = (f"output_dir={root}", f"data_dir={root / 'data'}", "tracking=none")
    command("src.train", "hidden=8", *JOB, *path_overrides).check()
    return only_run(root)


class Runs:
    """Copies of one run with other ends."""

    def __init__(self, model: Path, outputs: Path) -> None:
        self.model, self.outputs = model, outputs
        self.config: Config = attrs.evolve(saved_config(model), output_dir=str(outputs))
        self.records = [record for _, record in read_lines(model, 0)]
        self.digest = self.records[0]["tags"]["job_digest"]

    def add(self, name: str, status: str = "", reason: str = "", step: int = STEPS) -> Path:
        """Add a copy; status "" has no end event; step is that of its newest checkpoint."""
        folder = self.outputs / "runs" / name
        shutil.copytree(self.model, folder)
        lines = [json.dumps(record) for record in self.records if record["kind"] != "end"]
        (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
        if status:
            EventLog(folder).end(status, reason)
        for path in checkpoint.list_checkpoints(folder):
            if int(path.stem.partition("_")[2]) > step:
                path.unlink()
        return folder

    def find(self, digest: str = "") -> Any:
        return find_interrupted(self.config, digest or self.digest, "hidden=8")


@pytest.fixture
def runs(trained_untracked: Path, tmp_path: Path) -> Runs:
    return Runs(trained_untracked, tmp_path)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("", "", True),
        ("FAILED", STALE_REASON, True),
        ("KILLED", "interrupted", True),
        ("KILLED", "SIGTERM", True),
        ("FINISHED", "interrupted", True),
        ("FAILED", "MemoryError: ", True),
        ("FINISHED", "max_epochs", False),
        ("FINISHED", "pruned", False),
        ("FAILED", "DivergenceError: lr: expected training to stay finite", False),
        ("FAILED", "UserError: prompt: expected", False),
    ],
)
def test_find_interrupted_by_status(runs: Runs, status: str, reason: str, expected: bool) -> None:
    folder = runs.add("one", status, reason)
    found = runs.find()
    assert bool(found) == expected
    if found:
        assert (found.folder, found.step, found.status) == (folder, STEPS, status or "RUNNING")
        found.release()


def test_resumed_and_killed_run_is_not_finished(runs: Runs) -> None:
    """After Ctrl-C the run was FINISHED with scores."""
    folder = runs.add("one", "FINISHED", "interrupted")
    assert (folder / "scores.json").exists()
    assert open_store(runs.config).find_job(runs.digest) is None
    EventLog(folder).resume()
    assert open_store(runs.config).find_job(runs.digest) is None
    EventLog(folder).end("KILLED", "SIGTERM")
    assert open_store(runs.config).find_job(runs.digest) is None
    runs.add("two", "FINISHED", "max_epochs")
    found = open_store(runs.config).find_job(runs.digest)
    assert found
    assert found.run_id == "two"


def test_furthest_run_is_resumed_first(runs: Runs) -> None:
    runs.add("a", step=40)
    latest = runs.add("b")
    runs.add("c", "KILLED", "SIGTERM", step=40)
    found = runs.find()
    assert (found.folder, found.step) == (latest, STEPS)
    for name in ("a", "c"):
        acquire(runs.outputs / "runs" / name, timeout=0).release()
    assert runs.find("another job") is None
    second = runs.find()
    assert second.step == 40, "the first run is locked"
    third = runs.find()
    assert {second.folder.name, third.folder.name} == {"a", "c"}
    assert runs.find() is None
    for each in (found, second, third):
        each.release()


def test_damaged_checkpoints_are_skipped(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs.add("one")
    newest, older = checkpoint.list_checkpoints(folder)
    newest.write_bytes(newest.read_bytes()[:-100])
    found = runs.find()
    assert found.step == 40
    found.release()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hidden=8: {newest.name} is damaged")
    older.write_bytes(b"\0" * older.stat().st_size)
    assert runs.find() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hidden=8: run one cannot be resumed: expected a whole checkpoint in ")
    acquire(folder, timeout=0).release()


def test_run_of_other_store_is_not_resumed(runs: Runs) -> None:
    folder = runs.add("one", "KILLED", "SIGTERM")
    (folder / "tracking.json").write_text(json.dumps({"uri": "sqlite:////elsewhere.db", "artifacts": ""}))
    SyncState(10, "f" * 32).save(folder)
    runs.config = evolve(runs.config, {"tracking.name": "mlflow"})
    assert runs.find() is None
    runs.config = evolve(runs.config, {"tracking.uri": "sqlite:////elsewhere.db"})
    found = runs.find()
    assert found.folder == folder
    found.release()
