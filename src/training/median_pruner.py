"""Median pruning against the finished jobs of the same sweep (as `optuna.pruners.MedianPruner`)."""

from pathlib import Path
from statistics import median

from typing_extensions import override

from src.common.callback import Callback
from src.common.files import read_json
from src.common.job_result import PRUNED
from src.tracking.run_record import JOB_NOTE, JobNote, read_events
from src.training.trainer import Trainer

N_STARTUP_TRIALS = 5  # finished jobs; the median of fewer is unreliable
N_WARMUP_EVALS = 3  # the first validations say more about the warm-up than about the job


class MedianPruner(Callback):
    """Callback that stops a job whose best val/loss is above the median of the finished jobs.

    The comparison is made at the same optimizer step, after each validation.

    A pruned job is never the best of its sweep: a finished job was better at that step, and the val/loss of a
    job is its lowest. The other jobs are found by their run directories, so only jobs on this machine, or in
    a folder that machines share, count.

    Args:
        runs: Folder of all run directories.
        sweep: Id of the sweep.
        data_digest: Digest of the text of the job; only jobs with the same text are compared.
    """

    def __init__(self, runs: Path, sweep: str, data_digest: str) -> None:
        self.runs, self.sweep, self.data_digest = runs, sweep, data_digest
        self.validations = 0
        # (step, val/loss) points by run directory, read once; none of failed jobs, other sweeps and texts
        self.curves: dict[Path, list[tuple[int, float]]] = {}

    @override
    def on_validation_end(self, trainer: Trainer, val_loss: float) -> None:
        if self.should_prune(trainer.step, trainer.best.loss):
            trainer.request_stop(PRUNED)

    def should_prune(self, step: int, loss: float) -> bool:
        """Return whether the job is worse than the median of the finished jobs, and count one validation.

        Args:
            step: Optimizer step of this validation.
            loss: Lowest val/loss of this job so far, in nats per character.

        Returns:
            True if `loss` is above the median of the lowest val/loss of the finished jobs up to `step`; False
            before N_WARMUP_EVALS validations, or with fewer than N_STARTUP_TRIALS jobs to compare with.
        """
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
            run = read_events(file.parent) if read_json(file, JobNote)["sweep"] == self.sweep else None
            if run is None or run.status != "RUNNING":
                counts = run and (run.status, run.data_digest) == ("FINISHED", self.data_digest)
                self.curves[file.parent] = run.curves.get("val/loss", []) if run and counts else []
