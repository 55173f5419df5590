"""Runs that cannot go on, and weights that nothing can begin with."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from src.common.file_lock import Lock, acquire
from tests.invalid_inputs.case import CORPUS, PLACES, TINY, VERSE, Case, Prepare, nothing
from tests.invalid_inputs.damage import changed, cut, flip, gone, of_the_run, pickled, prepared
from tests.invalid_inputs.damaged import DAMAGED_RUN
from tests.invalid_inputs.texts import OTHERS, pipe, text

RUN = "outputs/runs/first"
LONGER = ("max_epochs=1", "tracking=none", *PLACES)  # something is left to do


def checkpoint(root: Path, name: str) -> Path:
    """The newest, the only one that is left."""
    *older, newest = sorted((root / RUN / "checkpoints").iterdir())
    for file in older:
        file.unlink()
    return newest


def nth(k: int) -> Callable[[Path, str], Path]:
    """The k-th checkpoint, the oldest first."""
    return lambda root, name: sorted((root / RUN / "checkpoints").iterdir())[k]


def both(damage: Callable[[Callable[[Path, str], Path], str], Prepare]) -> Prepare:
    def prepare(root: Path) -> None:
        newest = checkpoint(root, "")
        shutil.copy(newest, newest.with_name("step_00000001.safetensors"))
        for k in (0, 1):
            damage(nth(k), "")(root)

    return prepare


def without_model(prepare: Prepare) -> Prepare:
    """As a run is that was killed: checkpoints, and no model of its end."""

    def prepared(root: Path) -> None:
        shutil.rmtree(root / RUN / "model")
        prepare(root)

    return prepared


def at_work(root: Path) -> Lock:
    """Another process trains the run."""
    return acquire(root / RUN)


def garbled_journal(root: Path) -> None:
    lines = (root / RUN / "events.jsonl").read_text().splitlines(keepends=True)
    (root / RUN / "events.jsonl").write_text("".join([*lines[:3], "{]\n", *lines[3:]]))


DAMAGED_CHECKPOINTS = [
    ("none", lambda root: shutil.rmtree(root / RUN / "checkpoints")),
    ("the only one cut short", cut(checkpoint, "", 0.5)),
    ("the only one cut in its header", cut(checkpoint, "", 0.01)),
    ("the only one empty", cut(checkpoint, "", 0)),
    ("the only one a pickle", pickled(checkpoint, "")),
    ("a bit of both", both(lambda find, name: flip(find, name, 0.9))),
    ("a bit of both headers", both(lambda find, name: flip(find, name, 0.02))),
    ("a bit of both lengths", both(lambda find, name: flip(find, name, 0.0))),
    ("both of another kind", both(lambda find, name: lambda root: shutil.copy(
        root / RUN / "model" / "weights.safetensors", find(root, name)) if (root / RUN / "model").exists()
        else find(root, name).write_bytes(b"{}"))),
    ("a journal that ends before it", lambda root: (root / RUN / "events.jsonl").write_text("")),
]  # fmt: skip
REFUSED_RESUMPTIONS = [
    Case("train", ("resume=first", *LONGER), ("resume", "checkpoint", "first"), prepare, run=True,
         name=f"resume: {name}")
    for name, prepare in DAMAGED_CHECKPOINTS
] + [
    Case("train", (*TINY, *PLACES, f"init_from={RUN}"), ("init_from", "checkpoint", "first"),
         without_model(prepare), run=True, makes=CORPUS, name=f"init_from: {name}")
    for name, prepare in DAMAGED_CHECKPOINTS
] + [
    Case("train", (*TINY, *PLACES, "init_from=first"), ("init_from", "whole model", "first"), prepare,
         run=True, name=f"init_from: {name}")
    for name, prepare in DAMAGED_RUN if not name.startswith(("config", "scores", "no description"))
] + [
    Case("train", ("resume=first", *LONGER), ("resume", "config.json", "first"), prepare, run=True,
         name=f"resume: {name}")
    for name, prepare in (
        ("config cut short", cut(of_the_run, "config.json", 0.5)),
        ("config gone", gone(of_the_run, "config.json")),
        ("config a list", changed(of_the_run, "config.json", lambda told: [told])),
        ("config of another type", changed(of_the_run, "config.json", lambda told: {**told, "hidden": "x"})),
        ("config with a key more", changed(of_the_run, "config.json", lambda told: {**told, "new": 1})),
    )
]  # fmt: skip
TYPED_RESUMPTIONS = [
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
    ("resume=first", (), ("data.path", "regular file"), pipe),
    ("resume=first", (), ("data_dir", "damaged"), flip(prepared, "tokens.npy", 0.9)),
    ("resume=first", (), ("events.jsonl", "damaged"), garbled_journal),
    ("resume=first", (), ("no other process", RUN, str(os.getpid())), at_work),
    (f"resume={RUN}", (), ("no other process", RUN, str(os.getpid())), at_work),
    ("resume=latest", (), ("resume", "got none"), at_work),
    ("resume=first", ("--multirun",), ("resume", "without --multirun", "first"), nothing),
    ("resume=first,second", ("--multirun",), ("resume", "without --multirun"), nothing),
    ("rerun=first", ("--multirun",), ("rerun", "without --multirun", "first"), nothing),
]  # fmt: skip
REFUSED_RESUMPTIONS += [
    Case("train", (asked, *LONGER, *more), says, prepare, run=True, makes=CORPUS,
         name=f"{k}: train {asked} {' '.join(more)}")
    for k, (asked, more, says, prepare) in enumerate(TYPED_RESUMPTIONS)
]  # fmt: skip
REFUSED_RESUMPTIONS += [
    Case("train", ("resume=first", "tracking=none", *PLACES), ("not complete", "max_epochs"), run=True),
    Case("train", ("resume=latest", "tracking=none", *PLACES), ("resume", "interrupted", "none"), run=True),
    Case("train", ("resume=latest", *LONGER), ("resume", "interrupted", "none"), name="resume: no runs"),
    Case("train", ("rerun=first", "tracking=none", *PLACES), ("events.jsonl", "damaged"), garbled_journal,
         run=True, name="rerun: a damaged journal"),
    Case("pipeline", ("resume=first", *LONGER), ("resume", "python -m src.train", "first"), run=True),
    Case("preprocess", ("resume=first", *LONGER), ("resume", "python -m src.train", "first"), run=True),
    *(Case("train", (*TINY, *PLACES, *more), ("init_from", *says), prepare, run=True, makes=CORPUS,
           name=f"{k}: {' '.join(more)}")
      for k, (more, says, prepare) in enumerate((
          (("init_from=nobody",), ("nobody",), nothing),
          (("init_from=",), ("got",), nothing),
          (("init_from=text.txt",), ("whole checkpoint", "text.txt"), nothing),
          (("init_from=data",), ("data",), nothing),
          (("init_from=first", "hidden=9"), ("hidden=8, not 9",), nothing),
          (("init_from=first", "model=lstm"), ("cell=rnn, not lstm",), nothing),
          (("init_from=first", "model.layers=2"), ("layers=1, not 2",), nothing),
          (("init_from=first", "prompt=a"), ("the same 4 characters",), text(b"abcd" * 500)),
          (("init_from=first", "data.encoding=utf-16-le", "prompt="), ("the same",),
           text((OTHERS * 99).encode("utf-16-le"))),
      ))),
]  # fmt: skip
