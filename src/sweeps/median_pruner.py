"""Median pruning, against the finished jobs of the same sweep (as `optuna.pruners.MedianPruner`)."""

from pathlib import Path
from statistics import median

from src.common.callback import Callback
from src.common.job_result import PRUNED
from src.tracking.run_record import JOB_NOTE, read_events, read_job_note
from src.training.trainer import Trainer

N_STARTUP_TRIALS = 5  # finished jobs; a median of fewer is chance
N_WARMUP_EVALS = 3  # the first validations say more about the warm-up than about the job


class MedianPruner(Callback):
    """Stop a job whose best val/loss so far is above the median of the finished jobs' at the same step.

    A pruned job is never the best of its sweep: a finished one was better by that step, and a job's val/loss
    is its lowest. The others are found by their directories, so only those of this machine, or of a folder
    that machines share, count.

    Args:
        runs: The folder of all runs' directories.
        sweep: The id of the sweep.
    """

    def __init__(self, runs: Path, sweep: str) -> None:
        self.runs, self.sweep = runs, sweep
        self.validations = 0
        # val/loss by step, read once; none of a job that failed, or of another sweep's
        self.curves: dict[Path, list[tuple[int, float]]] = {}

    def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
        """Request a stop when the job is pruned."""
        if self.should_prune(trainer.step, trainer.best.loss):
            trainer.request_stop(PRUNED)

    def should_prune(self, step: int, loss: float) -> bool:
        """Return whether the lowest val/loss up to `step` is above the median of the others."""
        self.validations += 1
        self._refresh()
        lowest = [
            min(value for at, value in points if at <= step)
            for points in self.curves.values()
            if any(at <= step for at, _ in points)
        ]
        enough = self.validations >= N_WARMUP_EVALS and len(lowest) >= N_STARTUP_TRIALS
        return enough and loss > median(lowest)

    def _refresh(self) -> None:
        """Read the jobs that have finished since the last validation."""
        for file in self.runs.glob(f"*/{JOB_NOTE}"):
            if file.parent in self.curves:
                continue
            run = read_events(file.parent) if read_job_note(file)["sweep"] == self.sweep else None
            if run is None or run.status != "RUNNING":
                finished = run if run and run.status == "FINISHED" else None
                self.curves[file.parent] = finished.curves.get("val/loss", []) if finished else []
