"""resume= and init_from= of a finished run."""

import json
from pathlib import Path
from typing import Any

import pytest

from src.models import serialization
from src.training import checkpoint
from tests.checkpointed_job import JOB, only_run, points
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory, command: RunCli) -> tuple[Path, list[str]]:
    """Directory and path overrides of a small finished run."""
    outputs = tmp_path_factory.mktemp("outputs")
    path_overrides = [f"output_dir={outputs}", f"data_dir={data}", "tracking=none"]
    command("src.train", "hidden=8", *JOB, *path_overrides).check()
    return only_run(outputs), path_overrides


def test_resume_rejects_changed_config(run_cli: RunCli, finished: Any) -> None:
    run_dir, path_overrides = finished
    before = (run_dir / "events.jsonl").read_bytes()
    changes = ("hidden=9", "optimizer=sgd", "max_epochs=1", "length=20", "seed=1")
    result = run_cli("train", f"resume={run_dir}", *changes, *path_overrides)
    assert result.error_line == (
        f"train: resume: expected the config of run {run_dir.name}, got hidden=9 (it has 8), "
        f"optimizer=sgd (it has adam): remove it, or start a new run with init_from={run_dir.name}"
    )
    assert (run_dir / "events.jsonl").read_bytes() == before


def test_init_from_starts_with_weights_of_run(run_cli: RunCli, finished: Any) -> None:
    """The config may change; sizes and vocabulary may not."""
    run_dir, path_overrides = finished
    files = sorted((run_dir / "checkpoints").iterdir())
    weights = serialization.load(run_dir / "model").params
    assert checkpoint.load(files[-1]).arrays["weights"].tobytes() != weights.tobytes()
    settings = ("hidden=8", *JOB, "max_epochs=1e-6", "lr=1e-12", "ema_decay=0")
    for name in (run_dir.name, str(run_dir), str(files[-1])):
        result = run_cli("train", *settings, f"init_from={name}", *path_overrides).check()
        new_dir = max((run_dir.parent).iterdir(), key=lambda f: f.stat().st_ctime_ns)
        assert new_dir != run_dir
        initial = serialization.load(new_dir / "model").params
        # two steps of Adam, each at most lr (1 - beta1) / sqrt(1 - beta2), and rounding
        assert abs(initial - weights).max() <= 2 * 2 * 1e-12 * 0.1 / 0.001**0.5
        assert [step for step, name, _ in points(new_dir) if name == "val/loss"] == [1, 2], (
            "a new run starts at step 1"
        )
    for change, expected in {
        "hidden=9": "hidden=8, not 9",
        "model=gru": "cell=rnn, not gru",
        "data.lowercase=false": "trained on the same",
        "init_from=nowhere": "init_from: expected",
    }.items():
        result = run_cli("train", *settings, f"init_from={run_dir.name}", change, *path_overrides)
        assert result.rc == 2, change
        assert expected in result.err.splitlines()[-1]
        assert "Traceback" not in result.err


def test_finished_run_is_trained_further(run_cli: RunCli, finished: Any) -> None:
    """A larger max_epochs continues the same run with new scores."""
    run_dir, path_overrides = finished
    before, scores = points(run_dir), json.loads((run_dir / "scores.json").read_text())
    complete = run_cli("train", f"resume={run_dir}/checkpoints/step_00000060.safetensors", *path_overrides)
    assert (complete.rc, "finished by max_epochs" in complete.err) == (2, True)
    run_cli("train", f"resume={run_dir.name}", "max_epochs=0.1", *path_overrides).check()
    after = points(run_dir)
    assert after[: len(before)] == before
    assert len({(step, name) for step, name, _ in after}) == len(after), "duplicate points"
    assert json.loads((run_dir / "scores.json").read_text())["test/bpc"] < scores["test/bpc"]
    assert json.loads((run_dir / "config.json").read_text())["max_epochs"] == 0.1
    (last,) = [v for s, n, v in after[len(before) :] if n == "test/bpc"]
    assert last == json.loads((run_dir / "scores.json").read_text())["test/bpc"]
