"""Real trainings, killed and gone on with: the weights and every point are those of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, Ended, environ
from tests.kill_probe import IN_A_CHECKPOINT, PLACES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TIMES = {"chars_per_second", "train/seconds"}
KILLS = 25
SMALL = (
    "max_epochs=0.35",
    "eval_every=10",
    "log_every=4",
    "length=20",
    "patience=null",
    "schedule.warmup=20",
)
DEEP = (
    *SMALL,
    *("model=lstm", "hidden=8", "model.layers=2", "model.dropout=0.2", "batching=stream", "state=carry"),
    *("average=0.9", "workers=1", "tracking=none", "on_divergence=rollback", "max_epochs=7"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def points(folder: Path) -> list[tuple[int, str, float]]:
    """Every point of every metric in the order in which it was told, but for those that tell the time."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [
        (record["step"], name, value)
        for record in map(json.loads, lines)
        if record["kind"] == "metrics"
        for name, value in record["values"].items()
        if name not in TIMES
    ]


def only_run(outputs: Path) -> Path:
    (folder,) = (outputs / "runs").iterdir()
    return folder


def assert_equal_runs(one: Path, other: Path) -> None:
    assert (one / "model/weights.safetensors").read_bytes() == (
        other / "model/weights.safetensors"
    ).read_bytes()
    assert points(one) == points(other)
    for file in sorted((one / "samples").iterdir()):
        assert file.read_text() == (other / "samples" / file.name).read_text(), file.name
    last = [sorted((run / "checkpoints").iterdir())[-1] for run in (one, other)]
    assert last[0].name == last[1].name
    from src.lab.resume import checkpoint

    arrays = [checkpoint.load(path).arrays for path in last]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        assert array.tobytes() == arrays[1][name].tobytes(), name


def test_a_training_killed_25_times_comes_out_as_if_it_had_not_been(
    data: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    """Killed outright at random moments: in a step, while a line of the journal is written, and before, while
    and after a checkpoint is."""
    straight, killed = ([f"outputs={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "killed"))
    ended = command("src.train", *DEEP, *straight)
    assert ended.rc == 0, ended.err
    rng = random.Random(7)
    places = [rng.choice(PLACES) for _ in range(KILLS - 1)]
    assert sum(place in IN_A_CHECKPOINT for place in places) >= 5
    assert set(places) == set(PLACES)
    done = command("tests.kill_probe", "gradient", "25", *DEEP, *killed)
    assert done.rc == -signal.SIGKILL, done.err
    folder = only_run(tmp_path / "killed")
    counts = {"gradient": (1, 25), "half a line": (1, 9), "time": (1, 200)}
    for place in places:
        count = rng.randint(*counts.get(place, (1, 2)))
        done = command("tests.kill_probe", place, str(count), "resume=latest", *killed)
        assert done.rc == -signal.SIGKILL, (place, done.err)
    ended = command("src.train", "resume=latest", *killed)
    assert ended.rc == 0, ended.err
    assert only_run(tmp_path / "killed") == folder
    assert_equal_runs(only_run(tmp_path / "straight"), folder)
    assert len(list((folder / "checkpoints").iterdir())) == 2, "the last two, and nothing half written"
    records = [json.loads(line)["kind"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert records.count("resumed") == KILLS


def test_a_worker_that_the_system_kills_ends_the_run_in_one_line_and_it_goes_on(
    data: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    settings = (*SMALL, "hidden=8", "batching=stream", "max_epochs=7", "workers=2", "tracking=none")
    straight, broken = ([f"outputs={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "broken"))
    ended = command("src.train", *settings, *straight)
    assert ended.rc == 0, ended.err

    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *settings, *broken],
        cwd=PROJECT, env=environ(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 50/"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (worker,) = (pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(worker), signal.SIGKILL)  # as a machine does that is out of memory
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    expected = (
        "train: workers: expected 2 processes to the end, got one that was killed by SIGKILL: out of memory?"
    )
    assert err.splitlines()[-1].startswith(expected)
    folder = only_run(tmp_path / "broken")
    last = json.loads((folder / "journal.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], last["status"]) == ("end", "FAILED")

    ended = command("src.train", "resume=latest", *broken)
    assert ended.rc == 0, ended.err
    assert_equal_runs(only_run(tmp_path / "straight"), folder)


def history(client: Any, run_id: str, names: set[str]) -> list[tuple[int, str, float]]:
    return sorted((m.step, name, m.value) for name in names for m in client.get_metric_history(run_id, name))


def test_sigterm_ends_at_once_and_the_tracked_run_goes_on(
    data: Path, tmp_path: Path, command: Callable[..., Ended]
) -> None:
    """SIGTERM, then SIGKILL, then to the end, in one run of MLflow; two processes share the batches."""
    settings = (*SMALL, "hidden=8", "batching=stream", "state=carry", "max_epochs=7", "workers=2")
    straight, broken = ([f"outputs={tmp_path / name}", f"data_dir={data}"] for name in ("straight", "broken"))
    ended = command("src.train", *settings, *straight, "tracking=none")
    assert ended.rc == 0, ended.err

    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *settings, *broken, "max_epochs=7"],
        cwd=PROJECT, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("step 50/"))
    os.killpg(process.pid, signal.SIGTERM)  # as a cluster does: to every process of the job
    asked = time.monotonic()
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - asked < 20
    assert process.returncode == 143, err
    assert (out, "Traceback" in err) == ("", False)
    folder = only_run(tmp_path / "broken")
    how = f"python -m src.train resume={folder.name} outputs={tmp_path / 'broken'}"
    assert err.splitlines()[-1] == f"train: ended by SIGTERM; go on with: {how}"

    from src.lab.tracking.mlflow_client import connect

    def delivered() -> Any:
        """Once all that there is has been delivered."""
        for _ in range(300):  # the process that the training left behind may still be at it
            ended = command("src.deliver", str(folder))
            if "in which no other process is at work" not in ended.err:
                break
        assert ended.rc == 0, ended.err
        run_id = json.loads((folder / "delivered.json").read_text())["run_id"]
        return connect(f"sqlite:///{tmp_path / 'broken' / 'mlflow.db'}").get_run(run_id)

    run = delivered()
    assert (run.info.status, run.data.tags["ended"]) == ("KILLED", "SIGTERM")
    done = command("tests.kill_probe", "gradient", "20", f"resume={run.info.run_id}", *broken)
    assert done.rc == -signal.SIGKILL, done.err
    assert delivered().info.status == "FAILED"
    ended = command("src.train", f"resume={folder}", *broken)
    assert ended.rc == 0, ended.err
    assert ended.out.splitlines()[-1].endswith(f"run={run.info.run_id}")
    assert delivered().info.status == "FINISHED"

    assert_equal_runs(only_run(tmp_path / "straight"), folder)
    client = connect(f"sqlite:///{tmp_path / 'broken' / 'mlflow.db'}")
    assert len(client.search_runs([run.info.experiment_id])) == 1
    told = points(folder)
    told_in_mlflow = history(client, run.info.run_id, {name for _, name, _ in told})
    assert told_in_mlflow == sorted(told), "nothing twice, nothing missing"
    assert len(client.get_run(run.info.run_id).outputs.model_outputs) == 1


@pytest.fixture(scope="module")
def finished(
    data: Path, tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Ended]
) -> tuple[Path, list[str]]:
    """A small finished run, and where it is."""
    outputs = tmp_path_factory.mktemp("outputs")
    places = [f"outputs={outputs}", f"data_dir={data}", "tracking=none"]
    settings = ("hidden=8", "workers=1", "length=20", "max_epochs=0.05", "eval_every=20")
    ended = command("src.train", *settings, *places)
    assert ended.rc == 0, ended.err
    return only_run(outputs), places


Typed = Callable[..., Any]


def test_what_may_not_change_is_refused_with_the_difference(typed: Typed, finished: Any) -> None:
    folder, places = finished
    before = (folder / "journal.jsonl").read_bytes()
    changes = ("hidden=9", "optimizer=sgd", "max_epochs=1", "length=20", "seed=1")
    ended = typed("train", f"resume={folder}", *changes, *places)
    assert ended.rc == 2
    assert ended.complaint == (
        f"train: resume: expected the config of run {folder.name}, got hidden=9 (it has 8), "
        f"optimizer=sgd (it has adam): leave that out, or begin anew with init_from={folder.name}"
    )
    assert (folder / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("nonsense", "expected latest, a run id, the name of a directory under "),
        ("latest", "that was interrupted, got none: a finished one goes on with more max_epochs"),
        ("{name}", "something left to do, got {name}, finished by max_epochs: to train it further"),
        ("{folder}/checkpoints/step_00000060.safetensors", "finished by max_epochs"),
        ("{folder}/scores.json", "expected a whole checkpoint, got "),
    ],
)
def test_what_cannot_be_resumed_is_one_line(typed: Typed, finished: Any, asked: str, expected: str) -> None:
    folder, places = finished
    names = {"name": folder.name, "folder": folder}
    ended = typed("train", f"resume={asked.format(**names)}", *places)
    assert ended.rc == 2
    last = ended.err.splitlines()[-1]
    assert last.startswith("train: resume: ")
    assert expected.format(**names) in last
    assert "Traceback" not in ended.err


def test_another_process_at_work_is_not_disturbed(typed: Typed, finished: Any) -> None:
    from src.lab.runs.holding import hold

    folder, places = finished
    holder = hold(folder)
    try:
        ended = typed("train", f"resume={folder.name}", "max_epochs=1", *places)
        assert ended.rc == 2
        assert "expected a directory in which no other process is at work" in ended.err
        assert "interrupted, got none" in typed("train", "resume=latest", "max_epochs=1", *places).err
    finally:
        holder.release()


def test_sweeps_and_pipelines_resume_nothing(typed: Typed, finished: Any) -> None:
    ended = typed("pipeline", "resume=latest", *finished[1])
    assert (ended.rc, "null but for python -m src.train" in ended.complaint) == (2, True)


def test_init_from_takes_the_weights_and_begins_anew(typed: Typed, finished: Any) -> None:
    """A changed config is welcome; other sizes and other characters are not."""
    from src.lab.model import weights
    from src.lab.resume import checkpoint

    folder, places = finished
    files = sorted((folder / "checkpoints").iterdir())
    kept = weights.load(folder / "model").flat
    assert checkpoint.load(files[-1]).arrays["weights"].tobytes() != kept.tobytes()
    settings = ("hidden=8", "workers=1", "length=20", "max_epochs=1e-6", "lr=1e-12", "average=0")
    for name in (folder.name, str(folder), str(files[-1])):
        ended = typed("train", *settings, f"init_from={name}", *places)
        assert ended.rc == 0, ended.err
        new = max((folder.parent).iterdir(), key=lambda f: f.stat().st_ctime_ns)
        assert new != folder
        begun = weights.load(new / "model").flat
        assert abs(begun - kept).max() < 1e-6
        assert [step for step, name, _ in points(new) if name == "val/loss"] == [1, 2], "a fresh start"
    for changes, words in (
        (("hidden=9",), "hidden=8, not 9"),
        (("model=gru", "hidden=8"), "cell=rnn, not gru"),
        (("hidden=8", "data.lowercase=false"), "trained on the same"),
        (("hidden=8", "init_from=nowhere"), "init_from: expected"),
    ):
        ended = typed("train", *settings, f"init_from={folder.name}", *changes, *places)
        assert ended.rc == 2, changes
        assert words in ended.err.splitlines()[-1]
        assert "Traceback" not in ended.err


def test_a_finished_run_is_trained_further(typed: Typed, finished: Any) -> None:
    """In the same run, with more of max_epochs; the scores at the end are the new ones."""
    folder, places = finished
    before, scores = points(folder), json.loads((folder / "scores.json").read_text())
    ended = typed("train", f"resume={folder.name}", "max_epochs=0.1", *places)
    assert ended.rc == 0, ended.err
    after = points(folder)
    assert after[: len(before)] == before
    assert len({(step, name) for step, name, _ in after}) == len(after), "no point twice"
    assert json.loads((folder / "scores.json").read_text())["test/bpc"] < scores["test/bpc"]
    assert json.loads((folder / "config.json").read_text())["max_epochs"] == 0.1
    (last,) = [v for s, n, v in after[len(before) :] if n == "test/bpc"]
    assert last == json.loads((folder / "scores.json").read_text())["test/bpc"]
