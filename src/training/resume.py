"""Which run is meant by `resume=`, with which config it goes on, and from which checkpoint.

A job that was begun before and not finished: found again, to go on from its last checkpoint.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.console import echo_err
from src.common.errors import UserError
from src.common.file_lock import Lock, acquire, is_locked
from src.common.files import absolute, read_json
from src.config.schema import Config
from src.config.validation import evolve, iter_leaves
from src.data.corpus import Corpus
from src.tracking.environment import code_digest
from src.tracking.event_log import NAME as JOURNAL
from src.tracking.run import tracking_store
from src.tracking.run_record import RunRecord, read_events
from src.tracking.run_store import find_folder
from src.tracking.sync_state import SyncState, load_store
from src.training import checkpoint
from src.training.checkpoint import Checkpoint
from src.training.early_stopping import EARLY_STOPPING, budget_stop_reason, patience_exhausted
from src.training.train_state import TrainState

BUDGET = ("max_epochs", "max_seconds", "patience")
# What changes no step that has been taken.
OVERRIDABLE_ON_RESUME = {
    *BUDGET,
    *("on_divergence", "rollback_lr_factor", "max_rollbacks"),
    *("prompt", "temperature", "temperatures", "length"),
    *("output_dir", "data_dir", "tracking.name", "tracking.uri", "register", "skip_finished", "objectives"),
    "prune",
}


@dataclass(frozen=True)
class ResumePoint:
    """A run that goes on: its directory, its config, what it goes on from, and how it had ended. lock: of its
    directory, where this process holds it already."""

    folder: Path
    config: Config
    checkpoint: Checkpoint
    status: str
    reason: str
    lock: Lock | None = None

    @property
    def step(self) -> int:
        """Behind which it goes on."""
        return int(self.checkpoint.state["training"]["counters"]["step"])

    @property
    def train_state(self) -> TrainState:
        """The state of the trainer at the checkpoint."""
        return TrainState(self.step, self.checkpoint.state["training"], self.checkpoint.arrays)

    def release(self) -> None:
        """Leave the directory to others."""
        if self.lock:
            self.lock.release()


def find_resume_point(config: Config, typed: set[str]) -> ResumePoint:
    """What `resume=` asks for. config: as composed; typed: the dotted keys that the command line gives.

    Raises UserError when there is no such run, another process works on it, it has no good checkpoint, or
    a key was typed that may not change.
    """
    name = config.resume or ""
    typed = typed - {"resume"}
    path = absolute(name)
    if path.is_file():
        folder = path.parent.parent
        try:
            found = checkpoint.load(path)
        except ValueError as error:
            raise UserError(f"resume: expected a whole checkpoint, got {path} ({error})") from error
    else:
        folder = find(name, absolute(config.output_dir), bool(typed & set(BUDGET)))
        size = (folder / JOURNAL).stat().st_size
        found = checkpoint.newest(folder, size)
    ended = read_events(folder)
    return ResumePoint(folder, merge_overrides(folder, config, typed), found, ended.status, ended.stop_reason)


def find(name: str, output_dir: Path, longer: bool) -> Path:
    """The directory of the run that a name means. longer: also a finished run may be trained further."""
    if name == "latest":
        return latest(output_dir / "runs", longer)
    folder = find_folder(name, output_dir, "resume")
    if not checkpoint.list_checkpoints(folder):
        raise UserError(f"resume: expected a run with a checkpoint, got {folder}, which has none")
    return folder


def latest(runs: Path, longer: bool) -> Path:
    """The run that was trained last among those that can go on."""
    newest = {
        folder.parent: checkpoint.list_checkpoints(folder.parent)
        for folder in runs.glob(f"*/{checkpoint.FOLDER}")
    }
    dated = {folder: files[0].stat().st_mtime_ns for folder, files in newest.items() if files}
    for folder in sorted(dated, key=lambda folder: dated[folder], reverse=True):
        if not is_locked(folder) and (longer or not is_finished(folder)):
            return folder
    raise UserError(
        f"resume: expected a run under {runs} that was interrupted, got none: a finished one goes on with "
        "more max_epochs, max_seconds or patience"
    )


def is_finished(folder: Path) -> bool:
    """Whether a run came to its own end."""
    ended = read_events(folder)
    return ended.status == "FINISHED" and ended.stop_reason != "interrupted"


def merge_overrides(folder: Path, composed: Config, typed: set[str]) -> Config:
    """The run's own config, with those keys of the composed one that were typed and may change."""
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
            f"resume: expected the config of run {folder.name}, got {shown}: leave that out, or begin anew "
            f"with init_from={folder.name}"
        )
    moved = folder.parent.name == "runs"  # the output folder may have been moved since
    output_dir = str(folder.parent.parent) if moved else composed.output_dir
    changes = {key: theirs[key] for key in changed & OVERRIDABLE_ON_RESUME}
    return evolve(config, {**changes, "output_dir": output_dir, "data_dir": composed.data_dir})


def flatten_config(config: Config) -> dict[str, Any]:
    """Dotted keys to values."""
    return {key: value for key, _, value in iter_leaves(config)}


def saved_config(folder: Path) -> Config:
    """The config that a run's directory keeps. Raises UserError when it is not one of this version."""
    file = folder / "config.json"
    return Config.from_dict(read_json(file, dict[str, Any], "resume"), f"resume: {file}")


NON_RETRYABLE = ("DivergenceError: ", "UserError: ")  # how the reason of such a run begins


def find_interrupted(config: Config, digest: str, name: str) -> ResumePoint | None:
    """Of the interrupted runs of a job that are on this machine the one that came furthest, held by this
    process from now on; None where there is none.

    digest: what makes two jobs the same (job_digest). name: the job's. A run that cannot go on is named in a
    line and passed over, as is, in silence, one on which another process is at work.
    """
    furthest: ResumePoint | None = None
    for folder in candidate_runs(absolute(config.output_dir) / "runs", digest):
        found = try_lock(folder, config, name)
        if found and furthest:
            found, behind = sorted((found, furthest), key=lambda each: each.step, reverse=True)
            behind.release()
        furthest = found or furthest
    return furthest


def candidate_runs(runs: Path, digest: str) -> Iterator[Path]:
    """The directories of the job's runs that have come to a checkpoint."""
    for folder in sorted(file.parent for file in runs.glob(f"*/{checkpoint.FOLDER}")):
        try:
            run = read_events(folder)
        except (OSError, UserError):
            continue
        if run.tags.get("job_digest") == digest and checkpoint.list_checkpoints(folder):
            yield folder


def try_lock(folder: Path, config: Config, name: str) -> ResumePoint | None:
    """What a run would go on from, its directory held; None where it cannot, or another process has it."""
    try:
        if is_locked(folder):  # at work: not to be waited for
            return None
        mine = acquire(folder)
    except UserError:  # another process was faster
        return None
    try:
        ended = read_events(folder)
        if is_resumable(ended) and is_in_same_store(folder, config):
            whole = checkpoint.newest(folder, (folder / JOURNAL).stat().st_size, name)
            return ResumePoint(folder, config, whole, ended.status, ended.stop_reason, mine)
    except UserError as error:
        echo_err(f"{name}: run {folder.name} cannot go on: {str(error).removeprefix(f'{name}: ')}")
    mine.release()
    return None


def is_resumable(ended: RunRecord) -> bool:
    """Whether a run that nobody writes ended before its end, and not by what would end it again."""
    match ended.status:
        case "FINISHED":
            return ended.stop_reason == "interrupted"
        case "FAILED":
            return not ended.stop_reason.startswith(NON_RETRYABLE)
        case _:  # KILLED, or without a word
            return True


def is_in_same_store(folder: Path, config: Config) -> bool:
    """Whether the run may go on in the store in which this one is to be tracked: not if it has its id in
    another one."""
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
    counters, best = state["training"]["counters"], state["training"]["best"]
    spent = budget_stop_reason(config, counters["step"], max_steps, counters["seconds"])
    if patience_exhausted(config.patience, best["wait_count"]):
        spent = EARLY_STOPPING
    if found.status == "FINISHED" and spent:
        key = "patience" if spent == EARLY_STOPPING else spent
        raise UserError(
            f"resume: expected a run with something left to do, got {folder.name}, finished by {spent}: to "
            f"train it further give a larger {key} (now {getattr(config, key):g})"
        )
    if state["code"] != code_digest():
        echo_err("resume: warning: the code differs from that of the checkpoint; bits may differ")
