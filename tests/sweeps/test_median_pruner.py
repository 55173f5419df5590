"""The median rule for pruning, and a sweep that uses it."""

from pathlib import Path

import pytest

from src.tracking.event_log import EventLog
from src.tracking.sweep import Job, Sweep
from src.training.median_pruner import N_STARTUP_TRIALS, N_WARMUP_EVALS, MedianPruner
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings


def write_job(
    runs: Path, number: int, *losses: float, status: str = "FINISHED", sweep: str = "s", digest: str = "text"
) -> None:
    """Write a job with val/loss at steps 10, 20, ...; status "" leaves it running."""
    folder = runs / f"{sweep}-{number}"
    folder.mkdir(parents=True)
    Job(Sweep(sweep, "name", []), number, {}).write_job_note(folder)
    event_log = EventLog(folder)
    data = {"name": "n", "digest": digest, "source": "s", "profile": {}}
    event_log.start("e", "n", {}, {}, data)
    for at, loss in enumerate(losses, 1):
        event_log.metrics(10 * at, {"val/loss": loss})
    if status:
        event_log.end(status, "")
    event_log.file.close()


def should_prune(pruner: MedianPruner, step: int, loss: float) -> bool:
    """Return the decision at `step` after the startup evaluations."""
    pruner.validations = N_WARMUP_EVALS
    return pruner.should_prune(step, loss)


def test_prunes_above_median_at_same_step(tmp_path: Path) -> None:
    for number in range(5):  # at step 10: 3.0 to 3.4, at step 20: 2.0 to 2.4
        write_job(tmp_path, number, 3 + number / 10, 2 + number / 10)
    pruner = MedianPruner(tmp_path, "s", "text")
    assert should_prune(pruner, 10, 3.21)
    assert not should_prune(pruner, 10, 3.2)  # a loss at the median is not pruned
    assert should_prune(pruner, 20, 2.21)
    assert not should_prune(pruner, 15, 3.0)  # between two evaluations the earlier one counts
    assert not should_prune(pruner, 5, 9.0)  # no finished job has this step


def test_median_uses_lowest_loss_so_far(tmp_path: Path) -> None:
    for number in range(5):
        write_job(tmp_path, number, 2.0, 5.0)
    assert should_prune(MedianPruner(tmp_path, "s", "text"), 20, 2.1)


def test_median_uses_finished_jobs_of_same_sweep(tmp_path: Path) -> None:
    for number in range(N_STARTUP_TRIALS - 1):
        write_job(tmp_path, number, 2.0)
    write_job(tmp_path, 7, 2.0, status="FAILED")
    write_job(tmp_path, 8, 2.0, status="")
    write_job(tmp_path, 9, 2.0, sweep="another")
    pruner = MedianPruner(tmp_path, "s", "text")
    assert not should_prune(pruner, 10, 9.0)
    write_job(tmp_path, 10, 2.0)  # one more job finishes
    assert should_prune(pruner, 10, 9.0)


def test_median_uses_jobs_on_same_text(tmp_path: Path) -> None:
    for number in range(N_STARTUP_TRIALS):
        write_job(tmp_path, number, 1.0, digest="another text")
    assert not should_prune(MedianPruner(tmp_path, "s", "text"), 10, 2.0)
    assert should_prune(MedianPruner(tmp_path, "s", "another text"), 10, 2.0)


def test_first_evaluations_are_not_pruned(tmp_path: Path) -> None:
    for number in range(N_STARTUP_TRIALS):
        write_job(tmp_path, number, 2.0)
    pruner = MedianPruner(tmp_path, "s", "text")
    decisions = [pruner.should_prune(10 * k, 9.0) for k in range(1, N_WARMUP_EVALS + 2)]
    assert decisions == [False] * (N_WARMUP_EVALS - 1) + [True, True]


@pytest.mark.slow
@ignore_mlflow_warnings
def test_sweep_prunes_worst_job(command: RunCli, tmp_path: Path) -> None:
    settings = ("hidden=4", "max_epochs=0.1", "eval_every=20", "length=20", "workers=1", "diagnostics=false",
                "figures=false", "prune=true", "skip_finished=true", "tracking=none")  # fmt: skip
    path_overrides = (f"output_dir={tmp_path / 'outputs'}", f"data_dir={tmp_path / 'data'}")
    sweep = ("src.train", "--multirun", "lr=0.05,0.04,0.03,0.02,0.01,1e-6", *settings, *path_overrides)
    result = command(*sweep).check()
    (line,) = [line for line in result.out.splitlines() if "pruned" in line]
    assert "1e-06" in line or "1e-6" in line
    assert "FINISHED" in line
    assert "best" not in line
    assert result.err.count("stop reason: pruned") == 1
    assert "steps=60 " in result.out  # the third evaluation
    # A pruned job is not finished; it is trained again unless no other job runs.
    for reused in (5, 6):
        again = command(*sweep).check()
        assert again.err.count("reused run") == reused, again.err
