"""Interrupted and resumed training is bit-identical to uninterrupted training."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkpointed_job import only_run, points
from tests.commands import PROJECT, TIME_LIMIT, RunCli, environ
from tests.conftest import ignore_mlflow_warnings
from tests.fault_injection import IN_A_CHECKPOINT, PLACES
from tests.mlflow_queries import connect

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

KILLS = 25
SMALL = (
    "max_epochs=0.35",
    "figures=false",
    "eval_every=10",
    "log_every=4",
    "length=20",
    "patience=null",
    "schedule.warmup_steps=20",
)
DEEP = (
    *SMALL,
    *(
        "model=lstm",
        "hidden=8",
        "model.layers=2",
        "model.dropout=0.2",
        "batching=contiguous",
        "stateful=true",
    ),
    *("ema_decay=0.9", "workers=1", "tracking=none", "on_divergence=rollback", "max_epochs=7"),
)


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "model/weights.safetensors").read_bytes() == (
        other / "model/weights.safetensors"
    ).read_bytes()
    assert points(one) == points(other)
    for file in sorted((one / "samples").iterdir()):
        assert file.read_text() == (other / "samples" / file.name).read_text(), file.name
    last_checkpoints = [sorted((run / "checkpoints").iterdir())[-1] for run in (one, other)]
    assert last_checkpoints[0].name == last_checkpoints[1].name
    from src.training import checkpoint

    arrays = [checkpoint.load(path).arrays for path in last_checkpoints]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        assert array.tobytes() == arrays[1][name].tobytes(), name


def test_training_killed_25_times_is_bit_identical(data: Path, tmp_path: Path, command: RunCli) -> None:
    """Killed at random places: in a step, in a line of the event log, and before, during and after a
    checkpoint."""
    uninterrupted, interrupted = (
        [f"output_dir={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "killed")
    )
    command("src.train", *DEEP, *uninterrupted).check()
    rng = random.Random(7)
    kill_places = [rng.choice(PLACES) for _ in range(KILLS - 1)]
    assert sum(kill_place in IN_A_CHECKPOINT for kill_place in kill_places) >= 5
    assert set(kill_places) == set(PLACES)
    killed_result = command("tests.fault_injection", "gradient", "25", *DEEP, *interrupted)
    assert killed_result.rc == -signal.SIGKILL, killed_result.err
    folder = only_run(tmp_path / "killed")
    counts = {"gradient": (1, 25), "half a line": (1, 9), "time": (1, 200)}
    for kill_place in kill_places:
        count = rng.randint(*counts.get(kill_place, (1, 2)))
        killed_result = command(
            "tests.fault_injection", kill_place, str(count), "resume=latest", *interrupted
        )
        assert killed_result.rc == -signal.SIGKILL, (kill_place, killed_result.err)
    command("src.train", "resume=latest", *interrupted).check()
    assert only_run(tmp_path / "killed") == folder
    assert_equal_runs(only_run(tmp_path / "straight"), folder)
    assert len(list((folder / "checkpoints").iterdir())) == 2, "only the last two checkpoints"
    records = [json.loads(line)["kind"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert records.count("resumed") == KILLS


def test_killed_worker_ends_run_and_resume_is_bit_identical(
    data: Path, tmp_path: Path, command: RunCli
) -> None:
    settings = (*SMALL, "hidden=8", "batching=contiguous", "max_epochs=7", "workers=2", "tracking=none")
    uninterrupted, interrupted = (
        [f"output_dir={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "broken")
    )
    command("src.train", *settings, *uninterrupted).check()

    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *settings, *interrupted],
        cwd=PROJECT, env=environ(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 50/"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (worker,) = (pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(worker), signal.SIGKILL)  # like the kernel when memory is exhausted
    _, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    message = "train: workers: expected 2 processes that run to the end, got one that was killed by SIGKILL: "
    assert err.splitlines()[-1].startswith(message)
    folder = only_run(tmp_path / "broken")
    last_event = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert (last_event["kind"], last_event["status"]) == ("end", "FAILED")

    command("src.train", "resume=latest", *interrupted).check()
    assert_equal_runs(only_run(tmp_path / "straight"), folder)


def history(client: Any, run_id: str, names: set[str]) -> list[tuple[int, str, float]]:
    return sorted((m.step, name, m.value) for name in names for m in client.get_metric_history(run_id, name))


def test_sigterm_of_tracked_run_and_resume(data: Path, tmp_path: Path, command: RunCli) -> None:
    """SIGTERM, then SIGKILL, then to the end, in one MLflow run with two workers."""
    settings = (*SMALL, "hidden=8", "batching=contiguous", "stateful=true", "max_epochs=7", "workers=2")
    uninterrupted, interrupted = (
        [f"output_dir={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "broken")
    )
    result = command("src.train", *settings, *uninterrupted, "tracking=none").check()

    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *settings, *interrupted, "max_epochs=7"],
        cwd=PROJECT, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 50/"))
    os.killpg(process.pid, signal.SIGTERM)  # like a cluster: to every process of the job
    out, err = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 143, err
    assert (out, "Traceback" in err) == ("", False)
    folder = only_run(tmp_path / "broken")
    command_hint = f"python -m src.train resume={folder.name} output_dir={tmp_path / 'broken'}"
    assert err.splitlines()[-1] == f"train: ended by SIGTERM; resume with: {command_hint}"

    def synced_run() -> Any:
        """Return the MLflow run after all events are uploaded."""
        for _ in range(300):  # the background sync may still run
            result = command("src.sync", str(folder))
            if "that no other process uses" not in result.err:
                break
        assert result.rc == 0, result.err
        run_id = json.loads((folder / "sync_state.json").read_text())["run_id"]
        return connect(f"sqlite:///{tmp_path / 'broken' / 'mlflow.db'}").get_run(run_id)

    run = synced_run()
    assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "SIGTERM")
    killed_result = command(
        "tests.fault_injection", "gradient", "20", f"resume={run.info.run_id}", *interrupted
    )
    assert killed_result.rc == -signal.SIGKILL, killed_result.err
    assert synced_run().info.status == "FAILED"
    result = command("src.train", f"resume={folder}", *interrupted).check()
    assert result.out.splitlines()[-1].endswith(f"run={run.info.run_id}")
    assert synced_run().info.status == "FINISHED"

    assert_equal_runs(only_run(tmp_path / "straight"), folder)
    client = connect(f"sqlite:///{tmp_path / 'broken' / 'mlflow.db'}")
    assert len(client.search_runs([run.info.experiment_id])) == 1
    logged = points(folder)
    synced = history(client, run.info.run_id, {name for _, name, _ in logged})
    assert synced == sorted(logged), "every point once"
    assert len(client.get_run(run.info.run_id).outputs.model_outputs) == 1
