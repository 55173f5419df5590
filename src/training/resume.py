"""Resuming: the run that `resume=` names, or an interrupted run of a job, its config and its checkpoint."""

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
# Keys that affect no step that has been taken.
OVERRIDABLE_ON_RESUME = {
    *BUDGET,
    *("on_divergence", "rollback_lr_factor", "max_rollbacks"),
    *("prompt", "temperature", "temperatures", "length"),
    *("output_dir", "data_dir", "tracking.name", "tracking.uri", "register", "skip_finished", "objectives"),
    *("prune", "figures"),
}


@dataclass(frozen=True)
class ResumePoint:
    """A run that is resumed.

    Attributes:
        folder: Its directory.
        config: Its config, with the keys that may change.
        checkpoint: Where it continues.
        status: How it ended before.
        lock: Of the directory, where this process holds it already.
    """

    folder: Path
    config: Config
    checkpoint: Checkpoint
    status: str
    lock: Lock | None = None

    @property
    def step(self) -> int:
        """The optimizer step after which it continues."""
        return self.checkpoint.train_state.step

    def release(self) -> None:
        """Release the lock of the directory."""
        if self.lock:
            self.lock.release()


def find_resume_point(config: Config, typed: set[str]) -> ResumePoint:
    """Find the run that `resume=` names.

    Args:
        config: As composed.
        typed: The dotted keys that the command line gives.

    Raises:
        UserError: There is no such run, it has no good checkpoint, or a key was typed that may not change.
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
        folder = find(name, absolute(config.output_dir), bool(typed & set(BUDGET)))
        found = checkpoint.newest(folder)
    return ResumePoint(folder, merge_overrides(folder, config, typed), found, read_events(folder).status)


def find(name: str, output_dir: Path, longer: bool) -> Path:
    """Find the directory of a run. longer: `latest` may be a finished run, which is trained further."""
    if name == "latest":
        return latest(output_dir / "runs", longer)
    folder = find_folder(name, output_dir, "resume")
    if not checkpoint.list_checkpoints(folder):
        raise UserError(f"resume: expected a run with a checkpoint, got {folder}, which has none")
    return folder


def latest(runs: Path, longer: bool) -> Path:
    """Find the resumable run whose checkpoint is the newest."""
    newest = {folder: files[0] for folder in runs.glob("*") if (files := checkpoint.list_checkpoints(folder))}
    for folder in sorted(newest, key=lambda folder: newest[folder].stat().st_mtime_ns, reverse=True):
        if not is_locked(folder) and (longer or not is_finished(read_events(folder))):
            return folder
    raise UserError(
        f"resume: expected a run under {runs} that was interrupted, got none: to train a finished run "
        "further, give a larger max_epochs, max_seconds or patience"
    )


def is_finished(ended: RunRecord) -> bool:
    """Return whether a run ended without an interruption."""
    return ended.status == "FINISHED" and ended.stop_reason != "interrupted"


def merge_overrides(folder: Path, composed: Config, typed: set[str]) -> Config:
    """Return the run's logged config with the typed keys of the composed one.

    Raises:
        UserError: A typed key is not one of OVERRIDABLE_ON_RESUME.
    """
    config = saved_config(folder)
    ours, theirs = flatten_config(config), flatten_config(composed)
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
    moved = folder.parent.name == "runs"  # the output folder may have been moved since
    output_dir = str(folder.parent.parent) if moved else composed.output_dir
    changes = {key: theirs[key] for key in changed & OVERRIDABLE_ON_RESUME}
    return evolve(config, {**changes, "output_dir": output_dir, "data_dir": composed.data_dir})


def flatten_config(config: Config) -> dict[str, Any]:
    """Map dotted keys to values."""
    return {key: value for key, _, value in iter_leaves(config)}


def saved_config(folder: Path) -> Config:
    """Read the config of a run's directory. Raises UserError when it is not one of this version."""
    file = folder / "config.json"
    return Config.from_dict(read_json(file, dict[str, Any], "resume"), f"resume: {file}")


NON_RETRYABLE = ("DivergenceError: ", "UserError: ")  # how the reason of such a run begins


def find_interrupted(config: Config, digest: str, name: str) -> ResumePoint | None:
    """Find the interrupted run of a job on this machine that has the most steps, and lock it.

    A run that cannot be resumed is reported in a line and skipped; one that is active is skipped.

    Args:
        config: Of the job.
        digest: Its `job_digest`.
        name: Its name.

    Returns:
        The run, whose directory is locked; None where there is none.
    """
    furthest: ResumePoint | None = None
    for folder in sorted((absolute(config.output_dir) / "runs").glob("*")):
        found = lock_interrupted(folder, config, digest, name)
        if found and furthest:
            found, other = sorted((found, furthest), key=lambda each: each.step, reverse=True)
            other.release()
        furthest = found or furthest
    return furthest


def lock_interrupted(folder: Path, config: Config, digest: str, name: str) -> ResumePoint | None:
    """Lock a run of the job; None where it is of another, cannot be resumed, or is active."""
    try:
        if not checkpoint.list_checkpoints(folder) or read_events(folder).tags.get("job_digest") != digest:
            return None
        if is_locked(folder):  # active: not to be waited for
            return None
        mine = acquire(folder)
    except (OSError, UserError):  # no run, or another process was faster
        return None
    try:
        ended = read_events(folder)
        if is_resumable(ended) and is_in_same_store(folder, config):
            whole = checkpoint.newest(folder, name)
            return ResumePoint(folder, config, whole, ended.status, mine)
    except UserError as error:
        echo_err(f"{name}: run {folder.name} cannot be resumed: {str(error).removeprefix(f'{name}: ')}")
    mine.release()
    return None


def is_resumable(ended: RunRecord) -> bool:
    """Return whether an inactive run was interrupted, and not by an error that would occur again."""
    failed = ended.status == "FAILED" and ended.stop_reason.startswith(NON_RETRYABLE)
    return not (failed or is_finished(ended))  # KILLED, or without an end event


def is_in_same_store(folder: Path, config: Config) -> bool:
    """Return whether the run can be tracked in the store of the config: it has no id in another store."""
    tracked = config.tracking.enabled and bool(SyncState.load(folder).run_id)
    return not tracked or load_store(folder)["uri"] == tracking_store(config)["uri"]


def check_resumable(found: ResumePoint, corpus: Corpus, max_steps: int) -> None:
    """Check that a checkpoint continues on this corpus; warn when the code is not that of the checkpoint.

    Args:
        found: The run and its checkpoint.
        corpus: The corpus as it is prepared now.
        max_steps: Steps of the whole training.

    Raises:
        UserError: For another text, and for a finished run whose budget is spent.
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
