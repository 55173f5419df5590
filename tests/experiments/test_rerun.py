"""`rerun=` trains a logged run again and compares the results."""

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
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

TINY = ("hidden=8", "max_epochs=0.02", "eval_every=10", "log_every=5", "length=30", "workers=1",
        "figures=false", "diagnostics=false")  # fmt: skip


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes a key."""
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
def trained_root(tmp_path_factory: pytest.TempPathFactory, command: RunCli) -> Path:
    """The directory of a tiny untracked run and its text."""
    root = tmp_path_factory.mktemp("first")
    (root / "text.txt").write_text("what a piece of work is a man, " * 100)
    text = ["data=file", f"data.path={root / 'text.txt'}", "prompt=what ", "seq_len=10", "max_epochs=0.5"]
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}", "tracking=none"]
    command("src.train", *TINY, *text, *path_overrides).check()
    return root


@pytest.fixture
def run_dir(trained_root: Path, tmp_path: Path) -> Path:
    """A copy of the run directory that tests may change."""
    (new_dir,) = (trained_root / "outputs" / "runs").iterdir()
    shutil.copytree(new_dir, tmp_path / "outputs" / "runs" / new_dir.name)
    return tmp_path / "outputs" / "runs" / new_dir.name


@pytest.fixture
def rerun(run_cli: RunCli, run_dir: Path) -> Callable[..., Any]:
    """Run `rerun=` on the copy with more arguments."""
    root = run_dir.parent.parent.parent
    path_overrides = (f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}", "tracking=none")
    return lambda *arguments: run_cli("train", *(arguments or (f"rerun={run_dir.name}",)), *path_overrides)


def other_runs(run_dir: Path) -> list[Path]:
    return [new_dir for new_dir in run_dir.parent.iterdir() if new_dir != run_dir]


def test_rerun_of_tracked_run_needs_only_mlflow(run_cli: RunCli, trained: Any, tmp_path: Path) -> None:
    """Without the run directory."""
    import mlflow

    client = mlflow.MlflowClient(trained.uri)
    client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    experiment = f"tracking.experiment={tmp_path.name}"
    path_overrides = (
        f"output_dir={tmp_path / 'o'}",
        f"data_dir={tmp_path / 'd'}",
        f"tracking.uri={trained.uri}",
    )
    result = run_cli("train", f"rerun={trained.run_id}", *path_overrides, experiment).check()
    *findings, verdict = result.out.splitlines()
    assert verdict.startswith(f"identical: rerun_of={trained.run_id} run=")
    assert [line.split()[-1] for line in findings] == ["identical"] * 4
    store = MlflowStore(trained.uri, "unused", tmp_path)
    new = store.find(verdict.rpartition("run=")[2])
    assert new.tags["rerun_of"] == trained.run_id
    old = store.find(trained.run_id)
    for tag in ("code_sha256", "lock_sha256", "processor", "blas"):
        assert new.tags[tag] == old.tags[tag] != ""
    (new_dir,) = (tmp_path / "o" / "runs").iterdir()
    weights = "model/weights.safetensors"
    assert (new_dir / weights).read_bytes() == (trained.folder / weights).read_bytes()


def test_rerun_rejects_run_without_files(run_cli: RunCli, trained: Any, tmp_path: Path) -> None:
    store = MlflowStore(trained.uri, "unused", trained.outputs)
    assert store.find(trained.folder.name).run_id == trained.run_id
    import mlflow

    client = mlflow.MlflowClient(trained.uri)
    experiment = client.create_experiment(tmp_path.name, artifact_location=tmp_path.as_uri())
    empty = client.create_run(experiment).info.run_id
    result = run_cli("train", f"rerun={empty}", f"tracking.uri={trained.uri}", f"output_dir={tmp_path / 'o'}")
    assert f"got {empty}, which has no config.json" in result.error_line
    unknown = "0" * 32
    result = run_cli(
        "train", f"rerun={unknown}", f"tracking.uri={trained.uri}", f"output_dir={tmp_path / 'o'}"
    )
    assert result.error_line.startswith("train: rerun: expected latest, best, ")
    assert unknown in result.error_line
    assert not (tmp_path / "o").exists()


def test_rerun_of_untracked_run_is_identical(rerun: RunCli, run_dir: Path) -> None:
    result = rerun("rerun=latest").check()
    assert result.out.count("identical") == 5
    assert "not identical" not in result.out
    (new,) = other_runs(run_dir)
    assert json.loads((new / "config.json").read_text())["rerun"] is None


def test_rerun_reports_first_differing_step(rerun: RunCli, run_dir: Path) -> None:
    """Another seed in the logged config changes everything from the first point."""
    edit(run_dir / "config.json", seed=2)
    edit(
        run_dir / "environment.json",
        code_sha256="0123", numerics__blas_kernels="Vax",
    )  # fmt: skip
    result = rerun()
    assert result.rc == 1
    lines = {line[:12].strip(): line for line in result.out.splitlines()}
    for name in ("weights", "final scores", "curves", "samples"):
        assert re.search(r"  not identical: digest [0-9a-f]{12}, now [0-9a-f]{12}$", lines[name])
    assert "first different point: grad/norm at step 5, " in result.out
    kernels = numerics(1)["blas_kernels"]
    assert f"was computed with blas_kernels=Vax, this machine has blas_kernels={kernels}: " in result.err
    required = result.out.partition("an identical result requires equal values of\n")[2]
    assert "  code_sha256: 0123, now " in required
    assert f"  blas_kernels: Vax, now {kernels}\n" in required
    assert result.out.splitlines()[-1].startswith(f"not identical: rerun_of={run_dir.name} run=")


def test_rerun_detects_one_changed_bit(rerun: RunCli, run_dir: Path) -> None:
    """Change a checksum and the last bit of one point."""
    edit(run_dir / "scores.json", weights_sha256="0" * 64)
    event_lines = (run_dir / "events.jsonl").read_text().splitlines()
    index = next(k for k, line in enumerate(event_lines) if '"step": 10' in line and "train/loss" in line)
    point = json.loads(event_lines[index])
    point["values"]["train/loss"] *= 1 + 2**-52
    (run_dir / "events.jsonl").write_text(
        "\n".join([*event_lines[:index], json.dumps(point), *event_lines[index + 1 :]]) + "\n"
    )
    result = rerun()
    assert result.rc == 1
    content = [line for line in result.out.splitlines() if "not identical: " in line]
    assert len(content) == 3  # including the verdict
    assert content[0].startswith("weights       not identical: digest 000000000000, now ")
    assert content[1].startswith("curves        not identical: digest ")
    assert "first different point: train/loss at step 10, " in result.out
    assert ALL_EQUAL in result.out


def test_rerun_of_sweep_job(run_cli: RunCli, trained_root: Path, tmp_path: Path) -> None:
    path_overrides = (f"output_dir={tmp_path / 'o'}", f"data_dir={trained_root / 'data'}", "tracking=none")
    text = ("data=file", f"data.path={trained_root / 'text.txt'}", "prompt=what ", "seq_len=10")
    assert run_cli("train", "--multirun", "hidden=4,8", *TINY[1:], *text, *path_overrides).rc == 0
    (job,) = [
        file.parent
        for file in (tmp_path / "o" / "runs").glob("*/sweep.json")
        if json.loads(file.read_text())["swept"] == {"hidden": "4"}
    ]
    before = set((tmp_path / "o" / "runs").iterdir())
    result = run_cli("train", f"rerun={job.name}", *path_overrides).check()
    (new,) = set((tmp_path / "o" / "runs").iterdir()) - before
    assert not (new / "sweep.json").exists()
    result = run_cli("train", "--multirun", f"rerun={job.name}", "hidden=4,8", *path_overrides)
    assert result.rc != 0
    assert "rerun: expected null, except with python -m src.train without --multirun" in result.err


def test_rerun_warns_about_time_limit_and_accepts_new_text_path(
    rerun: RunCli, run_dir: Path, trained_root: Path
) -> None:
    edit(run_dir / "config.json", max_seconds=100.0, data__path="/no/such/text")
    event_file = run_dir / "events.jsonl"
    event_file.write_text(event_file.read_text().replace('"reason": "max_epochs"', '"reason": "interrupted"'))
    result = rerun(f"rerun={run_dir.name}", f"data.path={trained_root / 'text.txt'}").check()
    assert "had a time limit (max_seconds=100)" in result.err.splitlines()[0]
    assert "was interrupted by Ctrl-C: the result may differ" in result.err.splitlines()[1]


@pytest.mark.parametrize(
    ("file", "changes", "expected"),
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
def test_rerun_rejects_invalid_files_in_one_line(
    file: str, changes: dict[str, Any], expected: str, rerun: RunCli, run_dir: Path
) -> None:
    edit(run_dir / file, **changes)
    result = rerun()
    assert (result.rc, result.out) == (2, "")
    assert expected in result.err
    assert "Traceback" not in result.err
    assert result.err.splitlines()[-1].startswith("train: ")
    assert not other_runs(run_dir), "no run is started"


@pytest.mark.parametrize("file", ["config.json", "environment.json"])
def test_rerun_reports_missing_or_damaged_file(file: str, rerun: RunCli, run_dir: Path) -> None:
    (run_dir / file).write_text('{"half')
    assert f"expected a whole {file}, got a damaged one in {run_dir}" in rerun().error_line
    (run_dir / file).unlink()
    assert f"got {run_dir.name}, which has no {file}" in rerun().error_line


@pytest.mark.parametrize(
    "override", ["hidden=16", "seed=2", "optimizer=sgd", "prune=true", "data=smallshake"]
)
def test_rerun_rejects_other_keys(override: str, rerun: RunCli, run_dir: Path) -> None:
    result = rerun(f"rerun={run_dir.name}", override)
    assert f"got {override}: remove it" in result.error_line


@pytest.mark.parametrize("command", ["preprocess", "pipeline"])
def test_other_commands_reject_rerun(command: str, run_cli: RunCli, tmp_path: Path) -> None:
    result = run_cli(command, "rerun=latest", f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    assert result.error_line == (
        f"{command}: rerun: expected null, except with python -m src.train without --multirun, got latest"
    )
    assert not list(tmp_path.iterdir())


def test_environment_of_run_is_logged(run_dir: Path) -> None:
    environment = json.loads((run_dir / "environment.json").read_text())
    expected = {
        "python", "platform", "processor", "cores", "git_commit", "git_dirty",
        "lock_sha256", "code_sha256", "data_digest", "command",
    }  # fmt: skip
    assert expected <= environment.keys()
    assert {"numpy", "mlflow"} <= environment["packages"].keys()
    assert environment["numerics"].keys() == {"numpy", "simd", "blas", "blas_kernels", "workers"}
    assert environment["numerics"] == numerics(workers=1)
    assert isinstance(environment["numerics"]["simd"], list)
    import hashlib

    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    assert environment["lock_sha256"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert isinstance(environment["git_dirty"], bool | None)
    assert json.loads((run_dir / "config.json").read_text())["seed"] == 1
