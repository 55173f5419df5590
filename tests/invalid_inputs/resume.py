"""Runs that cannot be resumed, and invalid initial weights."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from src.common.file_lock import Lock, acquire
from tests.invalid_inputs.case import CORPUS, PATHS, TINY, VERSE, Case, Prepare, nothing
from tests.invalid_inputs.damaged_files import DAMAGED_RUN
from tests.invalid_inputs.file_damage import (
    corpus_file,
    edit_json,
    flip_bit,
    remove,
    replace_by_pickle,
    run_file,
    truncate,
)
from tests.invalid_inputs.texts import CYRILLIC, named_pipe, text

RUN = "outputs/runs/first"
UNFINISHED = ("max_epochs=1", "tracking=none", *PATHS)  # more epochs than the run has


def checkpoint(root: Path, name: str) -> Path:
    """Return the newest checkpoint and delete the others."""
    *older, newest = sorted((root / RUN / "checkpoints").iterdir())
    for file in older:
        file.unlink()
    return newest


def nth(k: int) -> Callable[[Path, str], Path]:
    """Return a function that finds the k-th oldest checkpoint."""
    return lambda root, name: sorted((root / RUN / "checkpoints").iterdir())[k]


def both(damage: Callable[[Callable[[Path, str], Path], str], Prepare]) -> Prepare:
    def prepare(root: Path) -> None:
        newest = checkpoint(root, "")
        shutil.copy(newest, newest.with_name("step_00000001.safetensors"))
        for k in (0, 1):
            damage(nth(k), "")(root)

    return prepare


def without_model(prepare: Prepare) -> Prepare:
    """Remove the model, as in a killed run."""

    def corpus_file(root: Path) -> None:
        shutil.rmtree(root / RUN / "model")
        prepare(root)

    return corpus_file


def locked_run(root: Path) -> Lock:
    """Lock the run as another process would."""
    return acquire(root / RUN)


def damaged_event_log(root: Path) -> None:
    lines = (root / RUN / "events.jsonl").read_text().splitlines(keepends=True)
    (root / RUN / "events.jsonl").write_text("".join([*lines[:3], "{]\n", *lines[3:]]))


DAMAGED_CHECKPOINTS = [
    ("none", lambda root: shutil.rmtree(root / RUN / "checkpoints")),
    ("the only one cut short", truncate(checkpoint, "", 0.5)),
    ("the only one cut in its header", truncate(checkpoint, "", 0.01)),
    ("the only one empty", truncate(checkpoint, "", 0)),
    ("the only one a pickle", replace_by_pickle(checkpoint, "")),
    ("a bit of both", both(lambda find, name: flip_bit(find, name, 0.9))),
    ("a bit of both headers", both(lambda find, name: flip_bit(find, name, 0.02))),
    ("a bit of both lengths", both(lambda find, name: flip_bit(find, name, 0.0))),
    ("both of another kind", both(lambda find, name: lambda root: shutil.copy(
        root / RUN / "model" / "weights.safetensors", find(root, name)) if (root / RUN / "model").exists()
        else find(root, name).write_bytes(b"{}"))),
    ("an event log without its end", lambda root: (root / RUN / "events.jsonl").write_text("")),
]  # fmt: skip
INVALID_RESUMES = (
    [
        Case(
            "train",
            ("resume=first", *UNFINISHED),
            ("resume", "checkpoint", "first"),
            prepare,
            has_run=True,
            name=f"resume: {name}",
        )
        for name, prepare in DAMAGED_CHECKPOINTS
    ]
    + [
        Case(
            "train",
            (*TINY, *PATHS, f"init_from={RUN}"),
            ("init_from", "checkpoint", "first"),
            without_model(prepare),
            has_run=True,
            creates=CORPUS,
            name=f"init_from: {name}",
        )
        for name, prepare in DAMAGED_CHECKPOINTS
    ]
    + [
        Case(
            "train",
            (*TINY, *PATHS, "init_from=first"),
            ("init_from", "whole model", "first"),
            prepare,
            has_run=True,
            name=f"init_from: {name}",
        )
        for name, prepare in DAMAGED_RUN
        if not name.startswith(("config", "scores", "no description"))
    ]
    + [
        Case(
            "train",
            ("resume=first", *UNFINISHED),
            ("resume", "config.json", "first"),
            prepare,
            has_run=True,
            name=f"resume: {name}",
        )
        for name, prepare in (
            ("config cut short", truncate(run_file, "config.json", 0.5)),
            ("config gone", remove(run_file, "config.json")),
            ("config a list", edit_json(run_file, "config.json", lambda content: [content])),
            (
                "config of another type",
                edit_json(run_file, "config.json", lambda content: {**content, "hidden": "x"}),
            ),
            (
                "config with a key more",
                edit_json(run_file, "config.json", lambda content: {**content, "new": 1}),
            ),
        )
    ]
)
RESUME_ARGUMENTS = [
    ("resume=nobody", (), ("resume", "a run id", "nobody"), nothing),
    ("resume=" + "0" * 32, (), ("resume", "a run id", "0" * 32), nothing),
    ("resume=", (), ("resume", "a run id"), nothing),
    ("resume=text.txt", (), ("resume", "whole checkpoint", "text.txt"), nothing),
    ("resume=data", (), ("resume", "a run id", "data"), nothing),
    (f"resume={RUN}/events.jsonl", (), ("resume", "whole checkpoint", "events.jsonl"), nothing),
    (f"resume={RUN}/checkpoints/step_00000001.safetensors", (), ("resume", "step_00000001"), nothing),
    ("resume=first", ("hidden=9",), ("resume", "hidden=9 (it has 8)", "init_from=first"), nothing),
    ("resume=first", ("model=gru",), ("resume", "model=gru (it has rnn)"), nothing),
    ("resume=first", ("seed=2", "lr=1"), ("resume", "lr=1.0 (it has", "seed=2 (it has 1)"), nothing),
    ("resume=first", ("data.lowercase=true",), ("resume", "data.lowercase=True (it has False)"), nothing),
    ("resume=first", ("data.encoding=bytes",), ("resume", "data.encoding=bytes (it has utf-8)"), nothing),
    ("resume=first", ("init_from=first",), ("resume", "init_from=first (it has None)"), nothing),
    ("resume=first", ("rerun=first",), ("rerun", "got"), nothing),
    ("resume=first", ("max_epochs=-1",), ("max_epochs", "-1"), nothing),
    ("resume=first", ("max_epochs=0.05",), ("resume", "not complete", "max_epochs"), nothing),
    ("resume=first", ("prompt=the suß",), ("prompt", "'ß'"), nothing),
    ("resume=first", ("register=true",), ("register", "true"), nothing),
    ("resume=first", (), ("resume", "corpus of run first", "text changed"), text((VERSE * 101).encode())),
    ("resume=first", (), ("data.path", "text.txt"), lambda root: (root / "text.txt").unlink()),
    ("resume=first", (), ("data.path", "regular file"), named_pipe),
    ("resume=first", (), ("data_dir", "damaged"), flip_bit(corpus_file, "tokens.npy", 0.9)),
    ("resume=first", (), ("events.jsonl", "damaged"), damaged_event_log),
    ("resume=first", (), ("no other process", RUN, str(os.getpid())), locked_run),
    (f"resume={RUN}", (), ("no other process", RUN, str(os.getpid())), locked_run),
    ("resume=latest", (), ("resume", "got none"), locked_run),
    ("resume=first", ("--multirun",), ("resume", "without --multirun", "first"), nothing),
    ("resume=first,second", ("--multirun",), ("resume", "without --multirun"), nothing),
    ("rerun=first", ("--multirun",), ("rerun", "without --multirun", "first"), nothing),
]  # fmt: skip
INVALID_RESUMES += [
    Case("train", (argument, *UNFINISHED, *more), expected, prepare, has_run=True, creates=CORPUS,
         name=f"{k}: train {argument} {' '.join(more)}")
    for k, (argument, more, expected, prepare) in enumerate(RESUME_ARGUMENTS)
]  # fmt: skip
INVALID_RESUMES += [
    Case("train", ("resume=first", "tracking=none", *PATHS), ("not complete", "max_epochs"), has_run=True),
    Case(
        "train", ("resume=latest", "tracking=none", *PATHS), ("resume", "interrupted", "none"), has_run=True
    ),
    Case("train", ("resume=latest", *UNFINISHED), ("resume", "interrupted", "none"), name="resume: no runs"),
    Case(
        "train",
        ("rerun=first", "tracking=none", *PATHS),
        ("events.jsonl", "damaged"),
        damaged_event_log,
        has_run=True,
        name="rerun: a damaged event log",
    ),
    Case("pipeline", ("resume=first", *UNFINISHED), ("resume", "python -m src.train", "first"), has_run=True),
    Case(
        "preprocess", ("resume=first", *UNFINISHED), ("resume", "python -m src.train", "first"), has_run=True
    ),
    *(
        Case(
            "train",
            (*TINY, *PATHS, *more),
            ("init_from", *expected),
            prepare,
            has_run=True,
            creates=CORPUS,
            name=f"{k}: {' '.join(more)}",
        )
        for k, (more, expected, prepare) in enumerate(
            (
                (("init_from=nobody",), ("nobody",), nothing),
                (("init_from=",), ("got",), nothing),
                (("init_from=text.txt",), ("whole checkpoint", "text.txt"), nothing),
                (("init_from=data",), ("data",), nothing),
                (("init_from=first", "hidden=9"), ("hidden=8, not 9",), nothing),
                (("init_from=first", "model=lstm"), ("cell=rnn, not lstm",), nothing),
                (("init_from=first", "model.layers=2"), ("layers=1, not 2",), nothing),
                (("init_from=first", "prompt=a"), ("the same 4 characters",), text(b"abcd" * 500)),
                (
                    ("init_from=first", "data.encoding=utf-16-le", "prompt="),
                    ("the same",),
                    text((CYRILLIC * 99).encode("utf-16-le")),
                ),
            )
        )
    ),
]
