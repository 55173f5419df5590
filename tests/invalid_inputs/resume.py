"""Runs that cannot be resumed, and invalid initial weights."""

import os
import shutil
from pathlib import Path

from src.common.file_lock import Lock, acquire
from tests.invalid_inputs.case import CORPUS, PATHS, TINY, UNTRACKED, VERSE, Case, Prepare, nothing
from tests.invalid_inputs.files import (
    RUN,
    cut,
    edit,
    edit_json,
    flip_bit,
    named_pipe,
    remove,
    text,
    without_text,
)
from tests.invalid_inputs.runs import DAMAGED_MODELS, TOKENS
from tests.invalid_inputs.texts import CYRILLIC

UNFINISHED = ("max_epochs=1", *UNTRACKED)  # more epochs than the run has
CHECKPOINTS, CONFIG, EVENTS = f"{RUN}/checkpoints/*", f"{RUN}/config.json", f"{RUN}/events.jsonl"


def without_model(prepare: Prepare) -> Prepare:
    """Remove the model, as in a killed run."""

    def remove_and_prepare(root: Path) -> None:
        shutil.rmtree(root / RUN / "model")
        prepare(root)

    return remove_and_prepare


def locked_run(root: Path) -> Lock:
    """Lock the run as another process would."""
    return acquire(root / RUN)


def weights_for_checkpoints(root: Path) -> None:
    for file in root.glob(CHECKPOINTS):
        shutil.copy(root / RUN / "model" / "weights.safetensors", file)


damaged_event_log = edit(EVENTS, lambda raw: raw.replace(b"\n", b"\n{]\n", 3))
RESUME_CASES = [
    *(
        ("resume=first", (), ("resume", "checkpoint", "first"), prepare)
        for prepare in (
            remove(CHECKPOINTS),
            cut(CHECKPOINTS),
            flip_bit(CHECKPOINTS),
            weights_for_checkpoints,
            edit(EVENTS, lambda raw: b""),
        )
    ),
    *(
        ("resume=first", (), ("resume", "config.json", "first"), prepare)
        for prepare in (
            cut(CONFIG),
            remove(CONFIG),
            edit_json(CONFIG, lambda old: [old]),
            edit_json(CONFIG, lambda old: old | {"new": 1}),
        )
    ),
    ("resume=nobody", (), ("resume", "a run id", "nobody"), nothing),
    ("resume=", (), ("resume", "a run id"), nothing),
    ("resume=text.txt", (), ("resume", "whole checkpoint", "text.txt"), nothing),
    ("resume=data", (), ("resume", "a run id", "data"), nothing),
    (f"resume={RUN}/events.jsonl", (), ("resume", "whole checkpoint", "events.jsonl"), nothing),
    (f"resume={RUN}/checkpoints/step_00000001.safetensors", (), ("resume", "step_00000001"), nothing),
    ("resume=first", ("hidden=9",), ("resume", "hidden=9 (it has 8)", "init_from=first"), nothing),
    ("resume=first", ("seed=2", "lr=1"), ("resume", "lr=1.0 (it has", "seed=2 (it has 1)"), nothing),
    ("resume=first", ("data.encoding=bytes",), ("resume", "data.encoding=bytes (it has utf-8)"), nothing),
    ("resume=first", ("init_from=first",), ("resume", "init_from=first (it has None)"), nothing),
    ("resume=first", ("rerun=first",), ("rerun", "got"), nothing),
    ("resume=first", ("max_epochs=-1",), ("max_epochs", "-1"), nothing),
    ("resume=first", ("max_epochs=0.05",), ("resume", "not complete", "max_epochs"), nothing),
    ("resume=first", ("prompt=the suß",), ("prompt", "'ß'"), nothing),
    ("resume=first", ("register=true",), ("register", "true"), nothing),
    ("resume=first", (), ("resume", "corpus of run first", "text changed"), text((VERSE * 101).encode())),
    ("resume=first", (), ("data.path", "text.txt"), without_text),
    ("resume=first", (), ("data.path", "regular file"), named_pipe),
    ("resume=first", (), ("data_dir", "damaged"), flip_bit(TOKENS)),
    ("resume=first", (), ("events.jsonl", "damaged"), damaged_event_log),
    ("resume=first", (), ("no other process", RUN, str(os.getpid())), locked_run),
    (f"resume={RUN}", (), ("no other process", RUN, str(os.getpid())), locked_run),
    ("resume=latest", (), ("resume", "got none"), locked_run),
    ("resume=first", ("--multirun",), ("resume", "without --multirun", "first"), nothing),
    ("resume=first,second", ("--multirun",), ("resume", "without --multirun"), nothing),
    ("rerun=first", ("--multirun",), ("rerun", "without --multirun", "first"), nothing),
]
INIT_FROM_CASES = [
    (f"init_from={RUN}", (), ("checkpoint", "first"), without_model(remove(CHECKPOINTS))),
    (f"init_from={RUN}", (), ("checkpoint", "first"), without_model(cut(CHECKPOINTS))),
    *(("init_from=first", (), ("whole model", "first"), damage) for _, damage in DAMAGED_MODELS[:2]),
    ("init_from=nobody", (), ("nobody",), nothing),
    ("init_from=", (), ("got",), nothing),
    ("init_from=text.txt", (), ("whole checkpoint", "text.txt"), nothing),
    ("init_from=data", (), ("data",), nothing),
    ("init_from=first", ("hidden=9",), ("hidden=8, not 9",), nothing),
    ("init_from=first", ("model=lstm",), ("cell=rnn, not lstm",), nothing),
    ("init_from=first", ("prompt=a",), ("the same 4 characters",), text(b"abcd" * 500)),
    ("init_from=first", ("data.encoding=utf-16-le", "prompt="), ("the same",),
     text((CYRILLIC * 99).encode("utf-16-le"))),
]  # fmt: skip
INVALID_RESUMES = [
    Case("train", (argument, *UNFINISHED, *more), expected, prepare, has_run=True, creates=CORPUS,
         name=f"{k}: train {argument} {' '.join(more)}")
    for k, (argument, more, expected, prepare) in enumerate(RESUME_CASES)
]  # fmt: skip
INVALID_RESUMES += [
    Case("train", (*TINY, *PATHS, argument, *more), ("init_from", *expected), prepare, has_run=True,
         creates=CORPUS, name=f"{k}: {argument} {' '.join(more)}")
    for k, (argument, more, expected, prepare) in enumerate(INIT_FROM_CASES)
]  # fmt: skip
INVALID_RESUMES += [
    Case(command, arguments, expected, prepare, has_run=True)
    for command, arguments, expected, prepare in (
        ("train", ("resume=first", *UNTRACKED), ("not complete", "max_epochs"), nothing),
        ("train", ("resume=latest", *UNTRACKED), ("resume", "interrupted", "none"), nothing),
        ("train", ("rerun=first", *UNTRACKED), ("events.jsonl", "damaged"), damaged_event_log),
        ("pipeline", ("resume=first", *UNFINISHED), ("resume", "python -m src.train", "first"), nothing),
        ("preprocess", ("resume=first", *UNFINISHED), ("resume", "python -m src.train", "first"), nothing),
    )
]
INVALID_RESUMES.append(Case("train", ("resume=latest", *UNFINISHED), ("resume", "interrupted", "none")))
