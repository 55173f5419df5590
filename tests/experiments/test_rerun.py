"""`rerun=` trains a logged run again and compares the results."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import UserError
from src.experiments.rerun import (
    ALL_EQUAL,
    digests,
    environment_diff,
    first_difference,
    reject_overrides,
)
from src.tracking.environment import numerics
from src.tracking.run_record import RunRecord
from tests.commands import PROJECT, RunCli
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import upload

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

TINY = ("data=file", "prompt=what ", "seq_len=10", "hidden=8", "max_epochs=0.5", "eval_every=10", "length=30",
        "log_every=5", "workers=1", "figures=false", "diagnostics=false", "tracking=none",
        "tracking.experiment=rerun")  # fmt: skip


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
    paths = [f"data.path={root / 'text.txt'}", f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]
    command("src.train", *TINY, *paths).check()
    return root


@pytest.fixture
def run_dir(trained_root: Path, tmp_path: Path) -> Path:
    """A copy of the run directory that tests may change."""
    (original,) = (trained_root / "outputs" / "runs").iterdir()
    return shutil.copytree(original, tmp_path / "outputs" / "runs" / original.name)


@pytest.fixture
def rerun(run_cli: RunCli, run_dir: Path, tmp_path: Path) -> Callable[..., Any]:
    """Run `rerun=` on the copy with more arguments."""
    path_overrides = (f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}", "tracking=none")
    return lambda *arguments: run_cli("train", f"rerun={run_dir.name}", *arguments, *path_overrides)


def other_runs(run_dir: Path) -> list[Path]:
    return [folder for folder in run_dir.parent.iterdir() if folder != run_dir]


def test_rerun_of_tracked_run_needs_only_mlflow(
    run_cli: RunCli, run_dir: Path, client: Any, trained: Any, tmp_path: Path
) -> None:
    from src.tracking.mlflow_store import MlflowStore

    event_file = run_dir / "events.jsonl"
    lines = event_file.read_text().splitlines(keepends=True)
    event_file.write_text("".join(line for line in lines if '"kind": "model"' not in line))  # not needed
    original = upload(run_dir, trained.uri, (tmp_path / "artifacts").as_uri()).run_id
    client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    tracking = (f"tracking.uri={trained.uri}", f"tracking.experiment={tmp_path.name}")
    path_overrides = (f"output_dir={tmp_path / 'o'}", f"data_dir={tmp_path / 'd'}")
    result = run_cli("train", f"rerun={original}", *tracking, *path_overrides).check()
    *findings, verdict = result.out.splitlines()
    assert verdict.startswith(f"identical: rerun_of={original} run=")
    assert [line.split()[-1] for line in findings] == ["identical"] * 4
    store = MlflowStore(trained.uri, "unused", tmp_path)
    old, new = store.find(original), store.find(verdict.rpartition("run=")[2])
    assert new.tags["rerun_of"] == original
    for tag in ("code_sha256", "lock_sha256", "processor", "blas"):
        assert new.tags[tag] == old.tags[tag] != ""
    (new_dir,) = (tmp_path / "o" / "runs").iterdir()
    weights = "model/weights.safetensors"
    assert (new_dir / weights).read_bytes() == (run_dir / weights).read_bytes()


def test_rerun_rejects_run_without_files(run_cli: RunCli, client: Any, trained: Any, tmp_path: Path) -> None:
    from src.tracking.mlflow_store import MlflowStore

    store = MlflowStore(trained.uri, "unused", trained.outputs)
    assert store.find(trained.folder.name).run_id == trained.run_id
    experiment = client.create_experiment(tmp_path.name, artifact_location=tmp_path.as_uri())
    empty, unknown = client.create_run(experiment).info.run_id, "0" * 32
    overrides = (f"tracking.uri={trained.uri}", f"output_dir={tmp_path / 'o'}")
    error = run_cli("train", f"rerun={empty}", *overrides).error_line
    assert f"got {empty}, which has no config.json" in error
    error = run_cli("train", f"rerun={unknown}", *overrides).error_line
    assert error.startswith("train: rerun: expected latest, best, ")
    assert unknown in error
    assert not (tmp_path / "o").exists()


def test_rerun_of_interrupted_job_is_identical(rerun: RunCli, run_dir: Path, trained_root: Path) -> None:
    """The job had a time limit, and its text has moved; the new run is no job."""
    job = {"sweep": "s", "number": 0, "name": "hidden=8", "swept": {"hidden": "8"}}
    (run_dir / "sweep.json").write_text(json.dumps(job))
    edit(run_dir / "config.json", max_seconds=100.0, data__path="/no/such/text")
    event_file = run_dir / "events.jsonl"
    event_file.write_text(event_file.read_text().replace('"reason": "max_epochs"', '"reason": "interrupted"'))
    result = rerun("rerun=latest", f"data.path={trained_root / 'text.txt'}").check()
    assert "had a time limit (max_seconds=100)" in result.err.splitlines()[1]
    assert "was interrupted by Ctrl-C: the result may differ" in result.err.splitlines()[2]
    assert result.out.count("identical") == 5
    assert "not identical" not in result.out
    (new,) = other_runs(run_dir)
    assert json.loads((new / "config.json").read_text())["rerun"] is None
    assert not (new / "sweep.json").exists()


def test_rerun_reports_first_differing_step(rerun: RunCli, run_dir: Path) -> None:
    """Another seed in the logged config changes everything from the first point."""
    edit(run_dir / "config.json", seed=2)
    edit(run_dir / "environment.json", code_sha256="0123", numerics__blas_kernels="Vax")
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


def test_comparison_detects_one_changed_bit(run_dir: Path) -> None:
    original = RunRecord.load(run_dir)
    first, (step, loss), *rest = original.curves["train/loss"]
    assert (step, loss) != (step, loss * (1 + 2**-52))
    curve = [first, (step, loss * (1 + 2**-52)), *rest]
    again = replace(
        original,
        curves=original.curves | {"train/loss": curve},
        scores=original.scores | {"weights_sha256": "0" * 64},
    )
    before, after = digests(original), digests(again)
    assert [name for name in before if before[name] != after[name]] == ["weights", "curves"]
    assert first_difference(original, again).startswith("first different point: train/loss at step 10, ")
    assert first_difference(original, original) == "every point of the curves is the same"
    assert environment_diff(original, again) == ALL_EQUAL


@pytest.mark.parametrize(
    ("file", "changes", "expected"),
    [
        ("config.json", {"hiden": 3}, "got hiden, which is unknown: check out the commit"),
        ("config.json", {"optimizer__beta9": 1}, "optimizer.beta9: expected a key of adam (beta1"),
        ("config.json", {"optimizer___target_": "os.system"}, "optimizer._target_: expected the dotted path"),
        ("config.json", {"hidden": 0}, "hidden: expected an integer >= 1, got 0"),
        ("environment.json", {"data_digest": "0" * 64}, "changed; give the original text with data.path"),
        ("environment.json", {"data_digest": None}, "expected data_digest in environment.json"),
        ("scores.json", {"weights_sha256": None}, "expected weights_sha256 in scores.json"),
        ("config.json", {"data__path": "/no/such/text"}, "not exist: give its path with data.path=FILE"),
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


def test_rerun_rejects_other_keys() -> None:
    allowed = ["rerun=a", "output_dir=o", "data_dir=d", "data.path=t", "tracking=none", "tracking.uri=u"]
    reject_overrides(allowed)
    for override in ("hidden=16", "seed=2", "optimizer=sgd", "prune=true", "data=smallshake"):
        with pytest.raises(UserError, match=f"^rerun: expected no other keys .*, got {override}: remove it$"):
            reject_overrides([*allowed, override])


def test_pipeline_rejects_rerun(run_cli: RunCli, tmp_path: Path) -> None:
    error = run_cli("pipeline", "rerun=latest", f"output_dir={tmp_path}", f"data_dir={tmp_path}").error_line
    expected = "expected null, except with python -m src.train without --multirun, got latest"
    assert error == f"pipeline: rerun: {expected}"
    assert not list(tmp_path.iterdir())


def test_environment_of_run_is_logged(run_dir: Path) -> None:
    environment = json.loads((run_dir / "environment.json").read_text())
    keys = "platform processor cores git_commit git_dirty lock_sha256 code_sha256 data_digest command"
    assert set(keys.split()) <= environment.keys()
    assert environment["numerics"].keys() == {"numpy", "simd", "blas", "blas_kernels", "workers"}
    assert environment["numerics"] == numerics(workers=1)
    lock = (PROJECT / "requirements.lock").read_bytes()
    assert environment["lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert isinstance(environment["git_dirty"], bool | None)
