"""A checkpoint: one file from which a training can resume, written completely or not at all.

checkpoints/step_00001200.safetensors has the arrays. Its metadata has the other state as JSON (see
checkpoint_schema.py) and a SHA-256 over both, which shows whether the file is complete. The file is written
under a temporary name, flushed to the disk and renamed. The last two checkpoints are kept: if one is damaged,
the other is still good.
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
from src.training.checkpoint_schema import CHECKPOINT, check_arrays
from src.training.train_state import TrainState

if TYPE_CHECKING:
    from src.training.trainer import Trainer

FOLDER = "checkpoints"
FORMAT = 1
MAX_CHECKPOINTS = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read from its file.

    Attributes:
        path: File of the checkpoint.
        arrays: Arrays by name (`weights`, `best`, `optimizer.*`, ...; see `check_arrays`).
        state: All other state, with the keys of `CHECKPOINT`.
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
        """The model with the best weights; with those of the last step before the first validation."""
        fields, best = self.state["model"], self.state["training"]["best"]
        return TrainedModel(
            RNNConfig(**fields["architecture"]),
            self.arrays["best" if best["step"] else "weights"],
            Vocabulary("".join(fields["characters"])),
            Normalization(**fields["normalization"]),
        )


def save(run: Path, step: int, arrays: dict[str, Array], state: dict[str, Any]) -> Path:
    """Write a checkpoint, and delete all but the `MAX_CHECKPOINTS` newest ones.

    Args:
        run: Directory of the run.
        step: Number of the last optimizer step.
        arrays: Arrays by name.
        state: All other state, with the keys of `CHECKPOINT`, serializable as JSON.

    Returns:
        Path of the new checkpoint.

    Raises:
        UserError: The file or its directory cannot be written, or an old checkpoint cannot be deleted.
    """  # noqa: DOC501 (`write_error` returns a UserError)
    path = run / FOLDER / f"step_{step:08d}.safetensors"
    text = json.dumps(state)
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    metadata = {"format": str(FORMAT), "state": text, "sha256": digest(arrays, text)}

    def write(temporary: Path) -> None:
        save_file(arrays, str(temporary), metadata)
        fsync_path(temporary)

    write_atomically(path, write)
    try:
        fsync_path(path.parent)  # the names in the directory are on the disk, too
        for old in list_checkpoints(run)[MAX_CHECKPOINTS:]:
            old.unlink()
        for torn in path.parent.glob(".*.tmp"):  # of a process that was killed while writing
            torn.unlink()
    except OSError as error:
        raise write_error(path, error) from error
    return path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and check it.

    Args:
        path: File of the checkpoint.

    Returns:
        The checkpoint.

    Raises:
        ValueError: The file is not complete or of another version, or its arrays do not fit its network.
    """
    arrays, text = read_file(path)
    found = Checkpoint(path, arrays, parse_json(text, CHECKPOINT))
    check_arrays(arrays, found.model)
    return found


def read_file(path: Path) -> tuple[dict[str, Array], str]:
    """Read the arrays and the JSON of a checkpoint.

    Args:
        path: File of the checkpoint.

    Returns:
        The arrays by name, and the JSON text, which is not parsed yet.

    Raises:
        ValueError: The file cannot be read, is of another version, or does not match its digest.
    """
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
    """Read the newest good checkpoint of a run.

    A damaged checkpoint is skipped, with a warning on standard error. So is a checkpoint for which the event
    log is too short: the machine stopped before the log was on the disk.

    Args:
        run: Directory of the run.
        key: Config key with which the warning and the error begin.

    Returns:
        The newest checkpoint that is complete.

    Raises:
        UserError: The run has no good checkpoint.
    """  # noqa: DOC501 (the ValueError is caught below)
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
    """Return the files of the checkpoints of a run, the newest first.

    Args:
        run: Directory of the run.

    Returns:
        Paths of the files, in descending order of the step; empty if there are none.
    """
    files = (run / FOLDER).glob("step_[0-9]*.safetensors")
    return sorted(files, key=lambda file: int(file.stem.partition("_")[2]), reverse=True)


def digest(arrays: dict[str, Array], text: str) -> str:
    """Return the SHA-256 over the names, dtypes, shapes and bytes of the arrays, and over the JSON.

    Args:
        arrays: Contiguous arrays by name.
        text: JSON text of the checkpoint.

    Returns:
        Hexadecimal digest; it does not depend on the order of the arrays.
    """
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(array.data)
    return sha.hexdigest()


def fsync_path(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk.

    Args:
        path: File or directory that exists.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class CheckpointCallback(Callback):
    """A callback that saves a checkpoint after each validation and after the last step.

    The checkpoint after the last step is saved before the final validation. A training that resumes from it
    is therefore the same as one that was never interrupted.

    Args:
        run: Run to which the checkpoints belong.
        samples: Callback that generates the samples; a checkpoint records how many characters it has written.
    """

    def __init__(self, run: Run, samples: SampleLogger) -> None:
        self.run, self.samples = run, samples
        self.saved = (0, 0)  # step and last validated step of the last checkpoint

    def on_train_start(self, trainer: "Trainer") -> None:
        """Record the checkpoint from which a resumed training continues, so that it is not saved again.

        Args:
            trainer: Trainer of the run.
        """
        self.saved = trainer.step, trainer.counters.validated

    def on_validation_end(self, trainer: "Trainer", val_loss: float) -> None:
        """Save a checkpoint, except at the final validation.

        A longer training would have no validation at that step.

        Args:
            trainer: Trainer of the run.
            val_loss: Validation loss in nats per character, not used.

        Raises:
            UserError: The checkpoint cannot be written.
        """
        if not trainer.stop_reason:
            self.on_steps_end(trainer)

    def on_steps_end(self, trainer: "Trainer") -> None:
        """Save a checkpoint if there is something new; before it, the event log is flushed to the disk.

        Args:
            trainer: Trainer of the run.

        Raises:
            UserError: The checkpoint cannot be written.
        """
        if self.saved != (trainer.step, trainer.counters.validated):
            self.saved = trainer.step, trainer.counters.validated
            save_training(self.run.folder, trainer, self.run.event_log.sync(), len(self.samples.text))


def save_training(run: Path, trainer: "Trainer", event_log_bytes: int, sample_chars: int) -> None:
    """Write the state of a trainer as a checkpoint.

    Args:
        run: Directory of the run.
        trainer: Trainer between two steps.
        event_log_bytes: Size of the event log of the run, in bytes.
        sample_chars: Length of the file of samples, in characters.

    Raises:
        UserError: The checkpoint cannot be written.
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
