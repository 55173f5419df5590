"""Interrupted and resumed training is bit-identical to uninterrupted training."""

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from src.common.file_lock import acquire
from src.tracking.event_log import read_lines
from src.tracking.sync_state import STALE_REASON
from src.training import checkpoint
from tests.checkpointed_job import only_run, points
from tests.commands import TIME_LIMIT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.fault_injection import PLACES
from tests.mlflow_queries import connect
from tests.sweep_runs import NewDatabase, assert_synced

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SMALL = ("hidden=8", "figures=false", "eval_every=10", "log_every=4", "length=20", "patience=null",
         "schedule.warmup_steps=20", "batching=contiguous", "stateful=true")  # fmt: skip
DEEP = (*SMALL, "model=lstm", "model.layers=2", "model.dropout=0.2", "ema_decay=0.9", "workers=1",
        "on_divergence=rollback", "max_epochs=5", "tracking=none")  # fmt: skip
TWO_WORKERS = (*SMALL, "workers=2", "max_epochs=2")


def assert_equal_runs(one: Path, other: Path) -> None:
    weights = "model/weights.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()
    assert points(one) == points(other)
    for file in sorted((one / "samples").iterdir()):
        assert file.read_text() == (other / "samples" / file.name).read_text(), file.name
    last_checkpoints = [sorted((run / "checkpoints").iterdir())[-1] for run in (one, other)]
    assert last_checkpoints[0].name == last_checkpoints[1].name
    arrays, others = (checkpoint.load(path).arrays for path in last_checkpoints)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in others.items()
    }


def test_repeatedly_killed_training_is_bit_identical(data: Path, tmp_path: Path, command: RunCli) -> None:
    """Killed at each place twice, in random order: in a step, in a line of the event log, and before, during
    and after a checkpoint."""
    uninterrupted, interrupted = (
        [f"output_dir={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "killed")
    )
    command("src.train", *DEEP, *uninterrupted).check()
    rng = random.Random(7)
    most = {"gradient": 25, "half a line": 9, "time": 100}
    places = rng.sample(PLACES * 2, k=2 * len(PLACES))
    command("tests.fault_injection", "gradient", "25", *DEEP, *interrupted)
    for place in places:
        count = rng.randint(1, most.get(place, 2))
        result = command("tests.fault_injection", place, str(count), "resume=latest", *interrupted)
        assert result.rc == -signal.SIGKILL, (place, result.err)
    command("src.train", "resume=latest", *interrupted).check()
    folder = only_run(tmp_path / "killed")
    assert_equal_runs(only_run(tmp_path / "straight"), folder)
    assert len(list((folder / "checkpoints").iterdir())) == 2, "only the last two checkpoints"
    kinds = [record["kind"] for _, record in read_lines(folder, 0)]
    assert kinds.count("resumed") == len(places) + 1


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory, command: RunCli) -> Path:
    """The directory of a run with two workers."""
    outputs = tmp_path_factory.mktemp("straight")
    command("src.train", *TWO_WORKERS, "tracking=none", f"output_dir={outputs}", f"data_dir={data}").check()
    return only_run(outputs)


def test_killed_worker_ends_run_and_resume_is_bit_identical(
    uninterrupted: Path, data: Path, tmp_path: Path, command: RunCli
) -> None:
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}")
    result = command("tests.fault_injection", "worker", "50", *TWO_WORKERS, "tracking=none", *path_overrides)
    assert (result.rc, "Traceback" in result.err) == (2, False), result.err
    message = "train: workers: expected 2 processes that run to the end, got one that was killed by SIGKILL: "
    assert result.err.splitlines()[-1].startswith(message)
    folder = only_run(tmp_path)
    end_event = [record for _, record in read_lines(folder, 0)][-1]
    assert (end_event["kind"], end_event["status"]) == ("end", "FAILED")
    command("src.train", "resume=latest", *path_overrides).check()
    assert_equal_runs(uninterrupted, folder)


def test_sigterm_of_tracked_run_and_resume(
    uninterrupted: Path, data: Path, tmp_path: Path, command: RunCli, new_database: NewDatabase
) -> None:
    """SIGTERM to every process of the job, as of a cluster, then SIGKILL, then to the end, in one MLflow run
    with two workers."""
    uri = new_database(tmp_path)
    path_overrides = (f"output_dir={tmp_path}", f"data_dir={data}")
    result = command("tests.fault_injection", "SIGTERM", "50", *TWO_WORKERS, *path_overrides)
    assert (result.rc, result.out, "Traceback" in result.err) == (143, "", False), result.err
    folder = only_run(tmp_path)
    hint = f"python -m src.train resume={folder.name} output_dir={tmp_path}"
    assert result.err.splitlines()[-1] == f"train: ended by SIGTERM; resume with: {hint}"

    def synced_run() -> Any:
        """Return the MLflow run after all events are uploaded."""
        while "that no other process uses" in (result := command("src.sync", str(folder))).err:
            acquire(folder, "sync.lock", timeout=TIME_LIMIT).release()  # the background sync still runs
        result.check()
        run_id = json.loads((folder / "sync_state.json").read_text())["run_id"]
        return connect(uri).get_run(run_id)

    run = synced_run()
    assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "SIGTERM")
    resume = f"resume={run.info.run_id}"
    killed_result = command("tests.fault_injection", "gradient", "20", resume, *path_overrides)
    assert killed_result.rc == -signal.SIGKILL, killed_result.err
    run = synced_run()
    assert (run.info.status, run.data.tags["stop_reason"]) == ("FAILED", STALE_REASON)
    result = command("src.train", f"resume={folder}", *path_overrides).check()
    assert result.out.splitlines()[-1].endswith(f"run={run.info.run_id}")
    synced_run()
    assert_synced(folder, uri)
    assert_equal_runs(uninterrupted, folder)
