"""`rerun=`: a logged run trained again from what was logged, and what is said of the result."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.experiments.rerun import ALL_EQUAL
from src.tracking.environment import numerics
from src.tracking.mlflow_store import MlflowStore

pytestmark = pytest.mark.slow  # every one of them trains

Typed = Callable[..., Any]
TINY = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=5", "length=30", "workers=1",
        "figures=false")  # fmt: skip


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one away."""
    content = json.loads(file.read_text())
    for key, value in changes.items():
        *groups, name = key.split("__")
        part = content
        for group in groups:
            part = part[group]
        part[name] = value
        if value is None:
            del part[name]
    file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, command: Any) -> Path:
    """The outputs of one tiny run without a tracker, and its text."""
    root = tmp_path_factory.mktemp("first")
    (root / "text.txt").write_text("what a piece of work is a man, " * 100)
    text = ["data=file", f"data.path={root / 'text.txt'}", "prompt=what ", "seq_len=10", "max_epochs=0.5"]
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}", "tracking=none"]
    ended = command("src.train", *TINY, *text, *path_overrides)
    assert ended.rc == 0, ended.err
    return root


@pytest.fixture
def logged(first: Path, tmp_path: Path) -> Path:
    """A copy of that run's directory, to be tampered with."""
    (folder,) = (first / "outputs" / "runs").iterdir()
    shutil.copytree(folder, tmp_path / "outputs" / "runs" / folder.name)
    return tmp_path / "outputs" / "runs" / folder.name


@pytest.fixture
def again(typed: Typed, logged: Path) -> Callable[..., Any]:
    """`rerun=` of the copy, with more arguments."""
    root = logged.parent.parent.parent
    path_overrides = (f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}", "tracking=none")
    return lambda *arguments: typed("train", *(arguments or (f"rerun={logged.name}",)), *path_overrides)


def runs_beside(logged: Path) -> list[Path]:
    return [folder for folder in logged.parent.iterdir() if folder != logged]


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
@pytest.mark.slow
def test_a_tracked_run_is_repeated_from_the_tracker_alone(typed: Typed, trained: Any, tmp_path: Path) -> None:
    """Where its directory never was, in a process of its own, with two workers."""
    import mlflow

    client = mlflow.MlflowClient(trained.uri)
    client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    experiment = f"tracking.experiment={tmp_path.name}"
    path_overrides = (
        f"output_dir={tmp_path / 'o'}",
        f"data_dir={tmp_path / 'd'}",
        f"tracking.uri={trained.uri}",
    )
    ended = typed("train", f"rerun={trained.run_id}", *path_overrides, experiment)
    assert ended.rc == 0, ended.err
    *findings, verdict = ended.out.splitlines()
    assert verdict.startswith(f"identical: rerun_of={trained.run_id} run=")
    assert [line.split()[-1] for line in findings] == ["identical"] * 4
    store = MlflowStore(trained.uri, "unused", tmp_path)
    new = store.find(verdict.rpartition("run=")[2])
    assert new.tags["rerun_of"] == trained.run_id
    old = store.find(trained.run_id)
    for tag in ("code_sha256", "lock_sha256", "processor", "blas"):
        assert new.tags[tag] == old.tags[tag] != ""
    (folder,) = (tmp_path / "o" / "runs").iterdir()
    weights = "model/weights.safetensors"
    assert (folder / weights).read_bytes() == (trained.folder / weights).read_bytes()


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies
@pytest.mark.slow
def test_a_tracked_run_is_found_by_its_directory_and_refused_without_files(
    typed: Typed, trained: Any, tmp_path: Path
) -> None:
    store = MlflowStore(trained.uri, "unused", trained.outputs)
    assert store.find(trained.folder.name).run_id == trained.run_id
    import mlflow

    client = mlflow.MlflowClient(trained.uri)
    experiment = client.create_experiment(tmp_path.name, artifact_location=tmp_path.as_uri())
    empty = client.create_run(experiment).info.run_id
    ended = typed("train", f"rerun={empty}", f"tracking.uri={trained.uri}", f"output_dir={tmp_path / 'o'}")
    assert ended.rc == 2
    assert f"got {empty}, which has no config.json" in ended.complaint
    unknown = "0" * 32
    ended = typed("train", f"rerun={unknown}", f"tracking.uri={trained.uri}", f"output_dir={tmp_path / 'o'}")
    assert ended.rc == 2
    assert ended.complaint.startswith("train: rerun: expected latest, best, ")
    assert unknown in ended.complaint
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latest", "best", "its directory"])
def test_a_run_without_a_tracker_is_repeated(name: str, again: Typed, logged: Path) -> None:
    ended = again(f"rerun={logged.name if name == 'its directory' else name}")
    assert ended.rc == 0, ended.err
    assert ended.out.count("identical") == 5
    assert "not identical" not in ended.out
    (new,) = runs_beside(logged)
    assert json.loads((new / "config.json").read_text())["rerun"] is None


@pytest.mark.slow
def test_what_comes_out_otherwise_is_said_with_what_differs(again: Typed, logged: Path) -> None:
    """Another seed in the logged config: everything parts, from the first point on."""
    edit(logged / "config.json", seed=2)
    edit(
        logged / "environment.json",
        code_sha256="0123", numerics__blas_kernels="Vax",
    )  # fmt: skip
    ended = again()
    assert ended.rc == 1
    lines = {line[:12].strip(): line for line in ended.out.splitlines()}
    for name in ("weights", "final scores", "curves", "samples"):
        assert re.search(r"  not identical: digest [0-9a-f]{12}, now [0-9a-f]{12}$", lines[name])
    assert "first different point: grad/norm at step 5, " in ended.out
    kernels = numerics(1)["blas_kernels"]
    assert f"was computed with blas_kernels=Vax, this machine has blas_kernels={kernels}: " in ended.err
    needed = ended.out.partition("an identical result requires equal values of\n")[2]
    assert "  code_sha256: 0123, now " in needed
    assert f"  blas_kernels: Vax, now {kernels}\n" in needed
    assert ended.out.splitlines()[-1].startswith(f"not identical: rerun_of={logged.name} run=")


@pytest.mark.slow
def test_one_changed_bit_of_what_was_logged_is_found(again: Typed, logged: Path) -> None:
    """A sha256, and one point of one curve in its last digit."""
    edit(logged / "scores.json", weights_sha256="0" * 64)
    journal = (logged / "events.jsonl").read_text().splitlines()
    at = next(k for k, line in enumerate(journal) if '"step": 10' in line and "train/loss" in line)
    point = json.loads(journal[at])
    point["values"]["train/loss"] *= 1 + 2**-52
    (logged / "events.jsonl").write_text(
        "\n".join([*journal[:at], json.dumps(point), *journal[at + 1 :]]) + "\n"
    )
    ended = again()
    assert ended.rc == 1
    content = [line for line in ended.out.splitlines() if "not identical: " in line]
    assert len(content) == 3  # with the verdict
    assert content[0].startswith("weights       not identical: digest 000000000000, now ")
    assert content[1].startswith("curves        not identical: digest ")
    assert "first different point: train/loss at step 10, " in ended.out
    assert ALL_EQUAL in ended.out


@pytest.mark.slow
def test_a_job_of_a_sweep_is_repeated_alone(typed: Typed, first: Path, tmp_path: Path) -> None:
    path_overrides = (f"output_dir={tmp_path / 'o'}", f"data_dir={first / 'data'}", "tracking=none")
    text = ("data=file", f"data.path={first / 'text.txt'}", "prompt=what ", "seq_len=10")
    assert typed("train", "--multirun", "hidden=4,8", *TINY[1:], *text, *path_overrides).rc == 0
    (job,) = [
        file.parent
        for file in (tmp_path / "o" / "runs").glob("*/sweep.json")
        if json.loads(file.read_text())["swept"] == {"hidden": "4"}
    ]
    before = set((tmp_path / "o" / "runs").iterdir())
    ended = typed("train", f"rerun={job.name}", *path_overrides)
    assert ended.rc == 0, ended.out + ended.err
    (new,) = set((tmp_path / "o" / "runs").iterdir()) - before
    assert not (new / "sweep.json").exists()
    ended = typed("train", "--multirun", f"rerun={job.name}", "hidden=4,8", *path_overrides)
    assert ended.rc != 0
    assert "rerun: expected null, except with python -m src.train without --multirun" in ended.err


@pytest.mark.slow
def test_a_budget_of_time_may_not_repeat_and_says_so(again: Typed, logged: Path) -> None:
    edit(logged / "config.json", max_seconds=100.0)
    journal = logged / "events.jsonl"
    journal.write_text(journal.read_text().replace('"reason": "max_epochs"', '"reason": "interrupted"'))
    ended = again()
    assert "had a time limit (max_seconds=100)" in ended.err.splitlines()[0]
    assert "was interrupted by Ctrl-C: the result may differ" in ended.err.splitlines()[1]


# --- refused before training ---


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"hiden": 3}, "got hiden, which is unknown: check out the commit"),
        ("config.json", {"lr": None}, "got no lr: check out the commit"),
        ("config.json", {"optimizer__beta9": 1}, "optimizer.beta9: expected a key of adam (beta1"),
        ("config.json", {"optimizer___target_": "os.system"}, "optimizer._target_: expected the dotted path"),
        ("config.json", {"model": 3}, "model: expected keys with values, got 3"),
        ("config.json", {"hidden": "many"}, "hidden: expected an integer >= 1, got many"),
        ("config.json", {"hidden": 0}, "hidden: expected an integer >= 1, got 0"),
        (
            "environment.json",
            {"data_digest": "0" * 64},
            "the text has changed; give the original text with data.path",
        ),
        ("environment.json", {"data_digest": None}, "expected data_digest in environment.json"),
        ("scores.json", {"weights_sha256": None}, "expected weights_sha256 in scores.json"),
        (
            "config.json",
            {"data__path": "/no/such/text"},
            "which does not exist: give its path with data.path=FILE",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_repeated_is_refused_in_a_line(
    file: str, changes: dict[str, Any], said: str, again: Typed, logged: Path
) -> None:
    edit(logged / file, **changes)
    ended = again()
    assert (ended.rc, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.splitlines()[-1].startswith("train: ")
    assert not runs_beside(logged), "nothing is trained"


@pytest.mark.parametrize("file", ["config.json", "environment.json"])
def test_a_missing_or_damaged_file_is_named(file: str, again: Typed, logged: Path) -> None:
    (logged / file).write_text('{"half')
    assert f"expected a whole {file}, got a damaged one in {logged}" in again().complaint
    (logged / file).unlink()
    assert f"got {logged.name}, which has no {file}" in again().complaint


@pytest.mark.parametrize(
    "override", ["hidden=16", "seed=2", "optimizer=sgd", "prune=true", "data=smallshake"]
)
def test_other_keys_beside_it_are_refused(override: str, again: Typed, logged: Path) -> None:
    ended = again(f"rerun={logged.name}", override)
    assert ended.rc == 2
    assert f"got {override}: remove it" in ended.complaint


@pytest.mark.parametrize("name", ["nothing", "../runs", "..", "/etc"])
def test_an_unknown_run_is_refused(name: str, again: Typed) -> None:
    ended = again(f"rerun={name}")
    assert ended.rc == 2
    assert ended.complaint.startswith("train: rerun: expected latest, best or the name of a run under ")


@pytest.mark.parametrize("command", ["preprocess", "pipeline"])
def test_other_commands_have_no_rerun(command: str, typed: Typed, tmp_path: Path) -> None:
    ended = typed(command, "rerun=latest", f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    assert ended.rc == 2
    assert ended.complaint == (
        f"{command}: rerun: expected null, except with python -m src.train without --multirun, got latest"
    )
    assert not list(tmp_path.iterdir())


def test_the_text_may_be_elsewhere_now(again: Typed, logged: Path, first: Path) -> None:
    edit(logged / "config.json", data__path="/no/such/text")
    ended = again(f"rerun={logged.name}", f"data.path={first / 'text.txt'}")
    assert ended.rc == 0, ended.out + ended.err


# --- what is logged to that end ---


def test_everything_that_bits_depend_on_is_logged(logged: Path) -> None:
    around = json.loads((logged / "environment.json").read_text())
    expected = {
        "python", "platform", "processor", "cores", "git_commit", "git_dirty",
        "lock_sha256", "code_sha256", "data_digest", "command",
    }  # fmt: skip
    assert expected <= around.keys()
    assert {"numpy", "mlflow"} <= around["packages"].keys()
    assert around["numerics"].keys() == {"numpy", "simd", "blas", "blas_kernels", "workers"}
    assert around["numerics"] == numerics(workers=1)
    assert isinstance(around["numerics"]["simd"], list)
    import hashlib

    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    assert around["lock_sha256"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert isinstance(around["git_dirty"], bool | None)
    assert json.loads((logged / "config.json").read_text())["seed"] == 1
