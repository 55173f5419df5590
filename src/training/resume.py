"""Resuming: the run that `resume=` names or an interrupted run of a job, its config and its checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import Lock, acquire, is_locked
from src.common.files import absolute, read_json
from src.config.constraints import evolve, iter_leaves
from src.config.schema import Config
from src.data.corpus import Corpus
from src.tracking.environment import code_digest
from src.tracking.run import tracking_store
from src.tracking.run_record import RunRecord, read_events
from src.tracking.run_store import find_folder
from src.tracking.sync_state import SyncState, load_store
from src.training import checkpoint
from src.training.callbacks import EARLY_STOPPING, patience_exhausted
from src.training.checkpoint import Checkpoint
from src.training.train_state import TrainCounters

BUDGET = ("max_epochs", "max_seconds", "patience")
# Keys that do not affect the steps that were already taken.
OVERRIDABLE_ON_RESUME = {
    *BUDGET,
    *("on_divergence", "rollback_lr_factor", "max_rollbacks"),
    *("prompt", "temperature", "temperatures", "length"),
    *("output_dir", "data_dir", "tracking.name", "tracking.uri", "register", "skip_finished", "objectives"),
    *("prune", "figures"),
}


@dataclass(frozen=True)
class ResumePoint:
    """A run that is resumed, and the checkpoint from which it continues.

    Attributes:
        folder: Directory of the run.
        config: Config of the run, with the overrides of the command line.
        checkpoint: Checkpoint from which it continues.
        status: Status with which the run ended before, like `KILLED`; see `RunRecord`.
        lock: Held lock of the directory; None if this process has not locked it.
    """

    folder: Path
    config: Config
    checkpoint: Checkpoint
    status: str
    lock: Lock | None = None

    @property
    def step(self) -> int:
        """Optimizer step after which the run continues."""
        return self.checkpoint.train_state.step

    def release(self) -> None:
        """Release the lock of the directory, if this process holds it."""
        if self.lock:
            self.lock.release()


def find_resume_point(config: Config, typed: set[str]) -> ResumePoint:
    """Find the run that `resume=` names.

    Args:
        config: Composed config. `resume` is `latest`, a run id, the name of a directory under outputs/runs,
            or the path of a run or a checkpoint.
        typed: Dotted keys that the command line gives.

    Returns:
        The run with its newest good checkpoint, or with the named one. Its directory is not locked.

    Raises:
        UserError: There is no such run, it has no good checkpoint, or the command line gives a key that may
            not change.
    """
    name, typed = config.resume or "", typed - {"resume"}
    path = absolute(name)
    if path.is_file():
        folder = path.parent.parent
        try:
            found = checkpoint.load(path)
        except ValueError as error:
            raise UserError(f"resume: expected a whole checkpoint, got {path} ({error})") from error
    else:
        output_dir = absolute(config.output_dir)
        if name == "latest":
            folder = _latest(output_dir / "runs", longer=bool(typed & set(BUDGET)))
        else:
            folder = find_folder(name, output_dir, "resume")
        if not checkpoint.list_checkpoints(folder):
            raise UserError(f"resume: expected a run with a checkpoint, got {folder}, which has none")
        found = checkpoint.newest(folder)
    return ResumePoint(folder, merge_overrides(folder, config, typed), found, read_events(folder).status)


def _latest(runs: Path, longer: bool) -> Path:
    """Return the resumable run with the newest checkpoint, or, if `longer`, the run with the newest one.

    Raises:
        UserError: There is no such run.
    """
    newest = {folder: files[0] for folder in runs.glob("*") if (files := checkpoint.list_checkpoints(folder))}
    for folder in sorted(newest, key=lambda folder: newest[folder].stat().st_mtime_ns, reverse=True):
        if not is_locked(folder) and (longer or not _is_finished(read_events(folder))):
            return folder
    raise UserError(
        f"resume: expected a run under {runs} that was interrupted, got none: to train a finished run "
        "further, give a larger max_epochs, max_seconds or patience"
    )


def _is_finished(ended: RunRecord) -> bool:
    """Return whether an inactive run ended without an interruption, such as Ctrl-C."""
    return ended.status == "FINISHED" and ended.stop_reason != "interrupted"


def merge_overrides(folder: Path, composed: Config, typed: set[str]) -> Config:
    """Return the logged config of a run, with overrides from the command line.

    `data_dir` is always taken from `composed`. `output_dir` is the directory in which the run is now, because
    it may have been moved.

    Args:
        folder: Directory of the run.
        composed: Config composed for this command.
        typed: Dotted keys that the command line gives; their values are taken from `composed`.

    Returns:
        Validated config.

    Raises:
        UserError: A key with a changed value is not in `OVERRIDABLE_ON_RESUME`, or the logged config is not
            one of this version.
    """
    config = saved_config(folder)
    ours, theirs = ({key: value for key, _, value in iter_leaves(each)} for each in (config, composed))
    changed = {key for key in typed if theirs.get(key) != ours.get(key)}
    refused = changed - OVERRIDABLE_ON_RESUME
    groups = {key.removesuffix(".name") for key in refused}
    refused = {key for key in refused if key.endswith(".name") or key.rpartition(".")[0] not in groups}
    if refused:
        shown = ", ".join(
            f"{k.removesuffix('.name')}={theirs.get(k)} (it has {ours.get(k)})" for k in sorted(refused)
        )
        raise UserError(
            f"resume: expected the config of run {folder.name}, got {shown}: remove it, or start a new run "
            f"with init_from={folder.name}"
        )
    moved = folder.parent.name == "runs"  # the output directory may have been moved
    output_dir = str(folder.parent.parent) if moved else composed.output_dir
    changes = {key: theirs[key] for key in changed & OVERRIDABLE_ON_RESUME}
    return evolve(config, {**changes, "output_dir": output_dir, "data_dir": composed.data_dir})


def saved_config(folder: Path) -> Config:
    """Read the config that a run has logged in its directory.

    Args:
        folder: Directory of the run.

    Returns:
        Validated config.

    Raises:
        UserError: The file is missing or damaged, or the config is not one of this version.
    """
    file = folder / "config.json"
    return Config.from_dict(read_json(file, dict[str, Any], "resume"), f"resume: {file}")


NON_RETRYABLE = ("DivergenceError: ", "UserError: ")  # stop reasons that would occur again begin so


def find_interrupted(config: Config, digest: str, name: str) -> ResumePoint | None:
    """Find the interrupted run of a job on this machine that has the most steps, and lock it.

    An active run is skipped. A run that cannot be resumed is skipped, with a warning on standard error.

    Args:
        config: Config of the job.
        digest: Digest of the job; see `job_digest`.
        name: Name of the job, with which a warning begins.

    Returns:
        The run, whose directory is locked, or None if there is no such run.
    """
    furthest: ResumePoint | None = None
    for folder in sorted((absolute(config.output_dir) / "runs").glob("*")):
        found = _lock_interrupted(folder, config, digest, name)
        if found and furthest:
            found, other = sorted((found, furthest), key=lambda each: each.step, reverse=True)
            other.release()
        furthest = found or furthest
    return furthest


def _lock_interrupted(folder: Path, config: Config, digest: str, name: str) -> ResumePoint | None:
    """Return the run, locked, if it is an interrupted run of the job that can be resumed; else None."""
    try:
        if not checkpoint.list_checkpoints(folder) or read_events(folder).tags.get("job_digest") != digest:
            return None
        if is_locked(folder):  # active: do not wait for it
            return None
        mine = acquire(folder)
    except (OSError, UserError):  # not a run, or another process was faster
        return None
    try:
        ended = read_events(folder)
        failed = ended.status == "FAILED" and ended.stop_reason.startswith(NON_RETRYABLE)
        if not failed and not _is_finished(ended) and _is_in_same_store(folder, config):
            whole = checkpoint.newest(folder, name)
            return ResumePoint(folder, config, whole, ended.status, mine)
    except UserError as error:
        echo_err(f"{name}: run {folder.name} cannot be resumed: {str(error).removeprefix(f'{name}: ')}")
    mine.release()
    return None


def _is_in_same_store(folder: Path, config: Config) -> bool:
    """Return whether the run can be tracked in the store of the config."""
    tracked = config.tracking.enabled and bool(SyncState.load(folder).run_id)
    return not tracked or load_store(folder)["uri"] == tracking_store(config)["uri"]


def check_resumable(found: ResumePoint, corpus: Corpus, max_steps: int) -> None:
    """Check that a training can continue from a checkpoint on this corpus.

    If the source code has changed since the checkpoint, a warning on standard error says so.

    Args:
        found: Run and its checkpoint.
        corpus: Corpus as it is prepared now.
        max_steps: Number of optimizer steps of the whole training.

    Raises:
        UserError: The corpus is another one, or the run is finished and its budget is spent.
    """
    state, folder, config = found.checkpoint.state, found.folder, found.config
    if state["corpus"] != corpus.digest:
        raise UserError(
            f"resume: expected the corpus of run {folder.name} (digest {state['corpus'][:12]}), got another "
            f"{corpus.name} ({corpus.digest[:12]}): has the text changed?"
        )
    counters = TrainCounters.from_state(state["training"]["counters"])
    spent = counters.spent_budget(config, max_steps)
    if patience_exhausted(config.patience, state["training"]["best"]["wait_count"]):
        spent = EARLY_STOPPING
    if found.status == "FINISHED" and spent:
        key = "patience" if spent == EARLY_STOPPING else spent
        raise UserError(
            f"resume: expected a run that is not complete, got {folder.name}, finished by {spent}: to train "
            f"it further, give a larger {key} (now {getattr(config, key):g})"
        )
    if state["code"] != code_digest():
        echo_err(
            "resume: warning: the source code differs from the checkpoint's; "
            "the result may not be bit-identical"
        )
