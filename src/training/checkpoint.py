"""A checkpoint: one file that holds everything from which a training continues, whole or not at all.

checkpoints/step_00001200.safetensors: the arrays, and in its metadata the rest as JSON (CheckpointFields)
and a SHA-256 over both, which tells whether it is whole. It is written under a temporary name, flushed to the
disk and renamed; the last two are kept, so that one is good whatever happens to the other.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from src.common.callback import Callback
from src.common.console import echo_err
from src.common.errors import UserError
from src.common.files import parse_json, write_atomically, write_error
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.models.serialization import TrainedModel
from src.rnn.parameters import Array, RNNConfig
from src.tracking.environment import code_digest
from src.tracking.event_log import NAME as EVENT_LOG
from src.tracking.run import Run
from src.training.callbacks import SampleLogger
from src.training.checkpoint_schema import CheckpointFields, check_arrays
from src.training.train_state import TrainState

if TYPE_CHECKING:
    from src.training.trainer import Trainer

FOLDER = "checkpoints"
FORMAT = 1
MAX_CHECKPOINTS = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: Its file.
        arrays: By name.
        state: The rest, as CheckpointFields describes it.
    """

    path: Path
    arrays: dict[str, Array]
    state: dict[str, Any]

    @property
    def train_state(self) -> TrainState:
        """The state of the trainer."""
        return TrainState(self.state["training"], self.arrays)

    @property
    def model(self) -> TrainedModel:
        """The model of the best weights; of those of the last step where none were validated yet."""
        fields, best = self.state["model"], self.state["training"]["best"]
        return TrainedModel(
            RNNConfig(**fields["architecture"]),
            self.arrays["best" if best["step"] else "weights"],
            Vocabulary("".join(fields["characters"])),
            Normalization(**fields["normalization"]),
        )


def save(run: Path, step: int, arrays: dict[str, Array], state: dict[str, Any]) -> Path:
    """Write a checkpoint and delete those that are too old.

    Args:
        run: The run's directory.
        step: The last optimizer step.
        arrays: By name.
        state: The rest, ready for JSON.

    Returns:
        The checkpoint's path.

    Raises:
        UserError: The place cannot be written to.
    """
    path = run / FOLDER / f"step_{step:08d}.safetensors"
    text = json.dumps(state)
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    metadata = {"format": str(FORMAT), "state": text, "sha256": digest(arrays, text)}

    def write(temporary: Path) -> None:
        save_file(arrays, str(temporary), metadata)
        fsync_path(temporary)

    write_atomically(path, write)
    try:
        fsync_path(path.parent)  # the name, too
        for old in list_checkpoints(run)[MAX_CHECKPOINTS:]:
            old.unlink()
        for torn in path.parent.glob(".*.tmp"):  # of a process that was killed while it wrote
            torn.unlink()
    except OSError as error:
        raise write_error(path, error) from error
    return path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: It is not whole, not of this version, or its arrays do not fit its network.
    """
    arrays, text = read_file(path)
    found = Checkpoint(path, arrays, dict(parse_json(text, CheckpointFields)))
    check_arrays(arrays, found.model)
    return found


def read_file(path: Path) -> tuple[dict[str, Array], str]:
    """Read the arrays and the JSON of a checkpoint. Raises ValueError when the file is not whole."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
        arrays = load_file(str(path))
        if metadata.get("format") != str(FORMAT):
            raise ValueError(f"expected format {FORMAT}, got {metadata.get('format')}")
        if metadata["sha256"] != digest(arrays, metadata["state"]):
            raise ValueError("its digest does not match its content")
        return arrays, metadata["state"]
    except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def newest(run: Path, key: str = "resume") -> Checkpoint:
    """Read the newest good checkpoint of a run; a damaged one is named in a line and skipped.

    A checkpoint of more than the event log was written by a machine that went down before the log was on the
    disk.

    Args:
        run: The run's directory.
        key: The config key that an error names.

    Raises:
        UserError: None is good.
    """
    damaged: list[str] = []
    log_bytes = (run / EVENT_LOG).stat().st_size
    for path in list_checkpoints(run):
        try:
            found = load(path)
            if found.state["event_log_bytes"] > log_bytes:
                raise ValueError(f"the event log ends before it, at {log_bytes} bytes")
        except ValueError as error:
            damaged.append(f"{path.name} is damaged ({error})")
            continue
        for line in damaged:
            echo_err(f"{key}: {line}; using the previous one")
        return found
    got = " and ".join(damaged) or "none"
    raise UserError(f"{key}: expected a whole checkpoint in {run / FOLDER}, got {got}: start a new run")


def list_checkpoints(run: Path) -> list[Path]:
    """List the checkpoints of a run, the newest first."""
    files = (run / FOLDER).glob("step_[0-9]*.safetensors")
    return sorted(files, key=lambda file: int(file.stem.partition("_")[2]), reverse=True)


def digest(arrays: dict[str, Array], text: str) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of the arrays, and over the JSON."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()


def fsync_path(path: Path) -> None:
    """Wait until a file, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointCallback(Callback):
    """Save a checkpoint after each validation, and at the end of the steps.

    The last one is saved before the final validation, so that a training that continues from it is the one
    that was never interrupted.

    Args:
        run: The run whose checkpoints they are.
        samples: The samples that were generated so far belong to a checkpoint.
    """

    def __init__(self, run: Run, samples: SampleLogger) -> None:
        self.run, self.samples = run, samples
        self.saved = (0, 0)  # step and last validated step of the last checkpoint

    def on_train_start(self, trainer: "Trainer") -> None:
        """Note where a resumed training continues: that checkpoint exists."""
        self.saved = trainer.step, trainer.counters.validated

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Save, except at the final validation, which a longer training would not have made."""
        if not trainer.stop_reason:
            self.save(trainer)

    def on_steps_end(self, trainer: "Trainer") -> None:
        """Save where there were steps since the last checkpoint."""
        self.save(trainer)

    def save(self, trainer: "Trainer") -> None:
        """Write a checkpoint; the event log is on the disk before it."""
        if self.saved == (trainer.step, trainer.counters.validated):
            return
        self.saved = trainer.step, trainer.counters.validated
        save_training(self.run.folder, trainer, self.run.sync_event_log(), len(self.samples.text))


def save_training(run: Path, trainer: "Trainer", event_log_bytes: int, sample_chars: int) -> None:
    """Save the state of a trainer.

    Args:
        run: The run's directory.
        trainer: The trainer.
        event_log_bytes: Size of the run's event log at the checkpoint.
        sample_chars: Size of its file of samples.
    """
    training, corpus = trainer.train_state(), trainer.corpus
    state = {
        "training": training.state,
        "event_log_bytes": event_log_bytes,
        "sample_chars": sample_chars,
        "corpus": corpus.digest,
        "code": code_digest(),
        "model": {
            "architecture": asdict(trainer.architecture),
            "characters": list(corpus.vocabulary.characters),
            "normalization": asdict(corpus.normalization),
        },
    }
    save(run, training.step, training.arrays, state)
