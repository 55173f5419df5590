"""A checkpoint: one file that holds everything a training goes on from, whole or not at all.

checkpoints/step_00001200.safetensors: the arrays, and in its metadata the rest as JSON and a SHA-256 over
both. It is written under a temporary name, brought to the disk and renamed; the last two are kept, so that
one is good whatever happens to the other.
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

from src.common.atomic_io import write_atomically, write_error
from src.common.callback import BaseCallback
from src.common.console import echo_err
from src.common.errors import UserError
from src.common.json_file import parse_json
from src.rnn.parameters import Array
from src.tracking.fingerprint import code_digest
from src.tracking.run import Run
from src.training.callbacks import SampleLogger

if TYPE_CHECKING:
    from src.training.trainer import Trainer

FOLDER = "checkpoints"
FORMAT = 1
MAX_CHECKPOINTS = 2


@dataclass(frozen=True)
class Checkpoint:
    """arrays: by name. state: what was JSON. path: where it was read."""

    path: Path
    arrays: dict[str, Array]
    state: dict[str, Any]


def save(run: Path, step: int, arrays: dict[str, Array], state: dict[str, Any]) -> Path:
    """Write a checkpoint of a run (its directory) and drop those that are too old; returns its path.

    Raises UserError when the place cannot be written to.
    """
    path = run / FOLDER / f"step_{step:08d}.safetensors"
    told = json.dumps(state)
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    metadata = {"format": str(FORMAT), "state": told, "sha256": digest(arrays, told)}

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
    """Read a checkpoint. Raises ValueError when it is not whole, or not one that this version reads."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
        arrays = load_file(str(path))
        if metadata.get("format") != str(FORMAT):
            raise ValueError(f"expected format {FORMAT}, got {metadata.get('format')}")
        if metadata["sha256"] != digest(arrays, metadata["state"]):
            raise ValueError("its digest does not fit what it holds")
        return Checkpoint(path, arrays, parse_json(metadata["state"], dict[str, Any]))
    except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error


def newest(run: Path, journal_bytes: int, key: str = "resume") -> Checkpoint:
    """The newest good checkpoint of a run; a damaged one is named in a line and passed over.

    journal_bytes: how much of the run's journal there is. A checkpoint that knows of more was written by a
    machine that went down before the journal was on the disk. key: where the run was typed. Raises UserError
    when none is good.
    """
    damaged: list[str] = []
    for path in list_checkpoints(run):
        try:
            found = load(path)
            if found.state["event_log_bytes"] > journal_bytes:
                raise ValueError(f"the journal ends before it, at {journal_bytes} bytes")
        except ValueError as error:
            damaged.append(f"{path.name} is damaged ({error})")
            continue
        for line in damaged:
            echo_err(f"{key}: {line}: taking the one before")
        return found
    got = " and ".join(damaged) or "none"
    raise UserError(f"{key}: expected a whole checkpoint in {run / FOLDER}, got {got}: start a new run")


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    files = (run / FOLDER).glob("step_[0-9]*.safetensors")
    return sorted(files, key=lambda file: int(file.stem.partition("_")[2]), reverse=True)


def digest(arrays: dict[str, Array], told: str) -> str:
    """SHA-256 over names, kinds, shapes and bytes of the arrays, and over the JSON."""
    sha = hashlib.sha256(told.encode())
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


class CheckpointCallback(BaseCallback):
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
        training, corpus = trainer.train_state(), trainer.corpus
        state = {
            "training": training.state,
            "event_log_bytes": self.run.sync_event_log(),
            "sample_chars": len(self.samples.text),
            "corpus": corpus.digest,
            "code": code_digest(),
            "model": {
                "architecture": asdict(trainer.architecture),
                "characters": list(corpus.vocabulary.characters),
                "normalization": asdict(corpus.normalization),
            },
        }
        save(self.run.folder, training.step, training.arrays, state)
