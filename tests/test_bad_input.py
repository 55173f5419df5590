"""Bad input through the real commands, as one table: a line that helps, an exit status, and nothing lost.

Each case runs `python -m src.COMMAND` in a child process (tests/forking.py spares it the imports). The line
says what was expected and what came, and names the key or the file; no traceback; the exit status is not 0;
files that were there are as they were, and nothing half-written stands beside them.
"""

import hashlib
import ipaddress
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.checks import walk
from src.cli import CONF, VERBATIM, register
from src.config import COMMANDS, OPTIMIZERS, SCHEDULES, Allowed
from src.lab.holding import Held, hold
from src.text.sources import PIECE
from tests.commands import Commands
from tests.conftest import PROJECT, environ

pytestmark = pytest.mark.slow

STAGE = re.compile(r"\[\d/4\] ")
VERSE = "the sun is up and so am i, "
TINY = (
    "data=file", "data.path=text.txt", "prompt=the ", "seq_len=10", "hidden=8", "max_epochs=0.05",
    "eval_every=10", "length=20", "workers=1", "tracking=none",
)  # fmt: skip
PLACES = ("outputs=outputs", "data_dir=data")
PORT = 58899  # nobody listens there
ROOT = os.geteuid() == 0

Prepare = Callable[[Path], object]
CORPUS = ("data", "data/*", "data/*/*")  # a corpus that is whole, for the next time
EVERYTHING = (*CORPUS, "outputs", "outputs/**/*")


def nothing(root: Path) -> None:
    """Nothing is there but what every case has."""


@dataclass(frozen=True)
class Case:
    """command and arguments as typed. says: what the line must hold beside `expected`. prepare: makes the
    files of the case. run: whether a finished run is there (outputs/runs/first and its data). makes: glob
    patterns of what may be new afterwards. status: the exit status."""

    command: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Prepare = nothing
    run: bool = False
    makes: tuple[str, ...] = ()
    status: int = 2
    name: str = ""

    @property
    def id(self) -> str:
        return self.name or f"{self.command} {' '.join(a for a in self.arguments if a not in PLACES)}"


# --- every key of the schema: a wrong type, and a value outside of its range ---

WRONG_TYPE = {"an integer": "many", "a number": "many", "true or false": "perhaps", "a text": "[1,2]"}


def wrong_values(key: str, allowed: Allowed) -> Iterator[str]:
    """A value of another type, and one outside of the range (tests/test_config.py has both ends)."""
    if key == "data.split":
        yield from (
            "half",
            "[0.5,0.4]",
            "[0.8,0.3,-0.1]",
            "[1,0,0]",
            "[0,0.5,0.5]",
            "[a,b,c]",
            "[]",
            "[nan,1,0]",
        )
        return
    if allowed.several:
        yield from ("3", "[]", "[speed]")
        return
    if allowed.choices:
        yield "none_of_these"
        return
    if key in VERBATIM:  # any text is one
        if not allowed.optional:
            yield "null"
        return
    yield WRONG_TYPE[allowed.kind]
    step = 1 if allowed.kind == "an integer" else 0.1
    ends = (allowed.most, step), (allowed.below, 0), (allowed.above, 0), (allowed.least, -step)
    for end, beyond in ends:
        if end is not None:
            yield f"{end + beyond:.9g}"
            return


def places(key: str) -> tuple[str, ...]:
    return tuple(place for place in PLACES if place.partition("=")[0] != key)


def schema_cases() -> Iterator[Case]:
    GlobalHydra.instance().clear()
    register()
    seen: set[tuple[str, str]] = set()
    choices = [[f"{group}={name}"] for group, kinds in CHOICES.items() for name in kinds]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for primary in COMMANDS:
            command = "train" if primary == "config" else primary
            for chosen in [[], *choices] if primary == "config" else [[]]:
                config: Any = OmegaConf.to_object(compose(primary, chosen))
                for key, allowed, _ in walk(config):
                    common = primary != "config" and key.partition(".")[0] in (
                        "outputs",
                        "data_dir",
                        "tracking",
                    )
                    mark = (command, key) if not chosen else (chosen[0], key)
                    grouped = key.partition(".")[0] in CHOICES
                    if (
                        common
                        or mark in seen
                        or (chosen and key.partition(".")[0] != chosen[0].partition("=")[0])
                    ):
                        continue
                    if grouped and not chosen:
                        continue  # with its choice, below
                    seen.add(mark)
                    for value in wrong_values(key, allowed):
                        named = key.partition(".")[0] if key.endswith(".name") else key
                        yield Case(command, (*chosen, f"{key}={value}", *places(key)), (named,))


CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}


# --- texts ---


def text(content: bytes) -> Prepare:
    return lambda root: (root / "text.txt").write_bytes(content)


def folder_for_text(root: Path) -> None:
    (root / "text.txt").unlink()
    (root / "text.txt").mkdir()


def pipe(root: Path) -> None:
    (root / "text.txt").unlink()
    os.mkfifo(root / "text.txt")


def locked_text(root: Path) -> None:
    (root / "text.txt").chmod(0)


LARGE = "".join(chr(code) for code in range(0x100, 0x100 + 120_000) if not 0xD800 <= code <= 0xDFFF)
OTHERS = "привет, мир: ünïcödé "
TEXTS = [
    ("missing file", ("data.path=none.txt",), ("data.path", "none.txt"), nothing),
    ("directory for a file", (), ("data.path", "text.txt"), folder_for_text),
    ("empty path", ("data.path=",), ("data.path",), nothing),
    ("path below a file", ("data.path=text.txt/below",), ("data.path",), nothing),
    ("path with a long name", (f"data.path={'x' * 300}",), ("data.path",), nothing),
    ("a file that cannot be read", ("data.path=/proc/self/mem",), ("data.path", "/proc/self/mem"), nothing),
    ("no path", ("data.path=null",), ("data.path", "null"), nothing),
    ("empty text", (), ("data", "got 0"), text(b"")),
    ("one character", (), ("data", "got 1"), text(b"a")),
    ("two characters", (), ("data", "got 2"), text(b"ab")),
    ("too short for a split", (), ("data", "got 40"), text(b"ab cd" * 8)),
    ("one distinct character", (), ("data", "2 distinct characters"), text(b"a" * 5000)),
    ("binary data", (), ("data.encoding", "byte 0x"), text(bytes(range(256)) * 40)),
    ("zeros and noise", (), ("data.encoding", "byte 0x"), text(np.random.default_rng(0).bytes(9000))),
    ("latin-1 as utf-8", (), ("data.encoding", "byte 0x"), text(("ünïcödé " * 300).encode("latin-1"))),
    ("utf-16 as utf-8", (), ("data.encoding", "byte 0xff"), text((OTHERS * 200).encode("utf-16"))),
    ("cyrillic as ascii", ("data.encoding=ascii",), ("data.encoding", "byte"), text((OTHERS * 200).encode())),
    ("utf-8 as utf-16", ("data.encoding=utf-16-le",), ("data.encoding",), text(b"\x00\xd8" * 999)),
    ("cut utf-16", ("data.encoding=utf-16",), ("data.encoding",), text((VERSE * 99).encode("utf-16")[:-1])),
    ("cut utf-8", (), ("data.encoding",), text((VERSE * 99 + "ü").encode()[:-1])),
    ("unknown encoding", ("data.encoding=klingon",), ("data.encoding", "klingon"), nothing),
    ("codec of bytes", ("data.encoding=base64_codec",), ("data.encoding", "base64_codec"), nothing),
    ("codec rot13", ("data.encoding=rot13",), ("data.encoding", "rot13"), nothing),
    ("empty encoding", ("data.encoding=",), ("data.encoding",), nothing),
    ("vocabulary of 100,000", (), ("data.max_vocabulary", "at most"), text(LARGE.encode())),
    ("vocabulary of 65,537", ("data.max_vocabulary=65536",), ("data.max_vocabulary", "65536", "got 65537"),
     text(LARGE[: 2**16 + 1].encode())),
    ("vocabulary above its limit", ("data.max_vocabulary=5",), ("data.max_vocabulary", "at most 5"), nothing),
    ("bytes above the limit", ("data.encoding=bytes", "data.max_vocabulary=200"),
     ("data.max_vocabulary", "at most 200", "got 256"), text(bytes(range(256)) * 40)),
    ("bytes in lower case", ("data.encoding=bytes", "data.lowercase=true"),
     ("data.encoding", "data.lowercase", "bytes"), nothing),
    ("letters of bytes", ("data.encoding=bytes", "data.letters_only=true"),
     ("data.encoding", "data.letters_only", "bytes"), nothing),
    ("bytes in capitals", ("data.encoding=BYTES",), ("data.encoding", "BYTES"), nothing),
    ("prompt that is no byte", ("data.encoding=bytes", "prompt=привет"), ("prompt", "'п'"), nothing),
    ("utf-8 broken in the middle", (), ("data.encoding", "byte 0xff at position 2700"),
     text(VERSE.encode() * 100 + b"\xff" + VERSE.encode() * 100)),
    ("utf-8 broken where a piece ends", (), ("data.encoding", f"byte 0xc3 at position {PIECE - 1}"),
     text(b"ab" * (PIECE // 2 - 1) + b"a\xc3(" + VERSE.encode() * 9)),
    ("utf-16 without its mark", ("data.encoding=utf-16",), ("data.encoding", "utf-16-le"),
     text((VERSE * 99).encode("utf-16-le"))),
    ("utf-32 as utf-8", (), ("data.encoding", "byte 0xff"), text((VERSE * 99).encode("utf-32"))),
    ("utf-8 as utf-32", ("data.encoding=utf-32",), ("data.encoding",), nothing),
    ("codec idna", ("data.encoding=idna",), ("data.encoding", "idna"), nothing),
    ("codec punycode", ("data.encoding=punycode",), ("data.encoding", "punycode"), nothing),
    ("codec undefined", ("data.encoding=undefined",), ("data.encoding", "undefined"), nothing),
    ("codec zip", ("data.encoding=zlib_codec",), ("data.encoding", "zlib_codec"), nothing),
    ("codec of another system", ("data.encoding=mbcs",), ("data.encoding", "mbcs"), nothing),
    ("a pipe", (), ("data.path", "read twice", "text.txt"), pipe),
    ("a device", ("data.path=/dev/zero",), ("data.path", "/dev/zero"), nothing),
    ("a pipe for another corpus", ("data=tinyshakespeare",), ("data.path", "read twice"), pipe),
    ("windows too long", ("seq_len=2000",), ("seq_len=2000",), nothing),
    ("text of another corpus", ("data=tinyshakespeare",), ("data.path", "sha256"), nothing),
    ("prompt outside", ("prompt=the suß",), ("prompt", "'ß'"), nothing),
    ("prompt of another script", ("prompt=привет",), ("prompt", "'п'"), nothing),
    ("prompt with a line break", ("prompt=the\nsun",), ("prompt", "'\\n'"), nothing),
    ("prompt with an emoji", ("prompt=the 🎭",), ("prompt", "🎭"), nothing),
]  # fmt: skip
REFUSED_TEXTS = [
    Case(
        "train",
        (*TINY, *PLACES, *arguments),
        says,
        prepare,
        name=f"text: {name}",
        makes=CORPUS if name.startswith("prompt") else ("data",),  # where it was being made, empty again
    )
    for name, arguments, says, prepare in TEXTS
]
if not ROOT:
    REFUSED_TEXTS.append(
        Case("train", (*TINY, *PLACES), ("data.path", "text.txt"), locked_text, name="text: no permission")
    )


# --- what was prepared, damaged ---


def prepared(root: Path, name: str) -> Path:
    (file,) = (root / "data").glob(f"file-*/{name}")
    return file


def model(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / "model" / name


def cut(find: Callable[[Path, str], Path], name: str, keep: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = find(root, name).read_bytes()
        find(root, name).write_bytes(raw[: int(len(raw) * keep)])

    return prepare


def flip(find: Callable[[Path, str], Path], name: str, where: float) -> Prepare:
    def prepare(root: Path) -> None:
        raw = bytearray(find(root, name).read_bytes())
        raw[int((len(raw) - 1) * where)] ^= 1
        find(root, name).write_bytes(raw)

    return prepare


def pickled(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).write_bytes(pickle.dumps(np.zeros(9)))


def objects(root: Path) -> None:
    np.save(prepared(root, "tokens.npy"), np.array([{"a": 1}], object), allow_pickle=True)


def gone(find: Callable[[Path, str], Path], name: str) -> Prepare:
    return lambda root: find(root, name).unlink()


def changed(find: Callable[[Path, str], Path], name: str, change: Callable[[Any], Any]) -> Prepare:
    def prepare(root: Path) -> None:
        told = json.loads(find(root, name).read_text())
        find(root, name).write_text(json.dumps(change(told)))

    return prepare


def of_the_run(root: Path, name: str) -> Path:
    return root / "outputs" / "runs" / "first" / name


DAMAGED_CORPUS = [
    ("tokens cut short", cut(prepared, "tokens.npy", 0.5)),
    ("tokens cut to the header", cut(prepared, "tokens.npy", 0.01)),
    ("a bit of the tokens", flip(prepared, "tokens.npy", 0.9)),
    ("a bit of their header", flip(prepared, "tokens.npy", 0.001)),
    ("tokens a pickle", pickled(prepared, "tokens.npy")),
    ("tokens of objects", objects),
    ("tokens gone", gone(prepared, "tokens.npy")),
    ("vocabulary cut short", cut(prepared, "vocab.json", 0.5)),
    ("vocabulary of others", changed(prepared, "vocab.json", lambda known: [*known[:-1], "~"])),
    ("manifest empty", cut(prepared, "manifest.json", 0)),
    ("manifest a list", changed(prepared, "manifest.json", lambda told: [])),
    ("manifest of other splits", changed(prepared, "manifest.json", lambda told: {**told, "splits": {}})),
]
REFUSED_CORPORA = [
    Case("train", (*TINY, *PLACES), ("data_dir", "file-"), prepare, run=True, name=f"corpus: {name}")
    for name, prepare in DAMAGED_CORPUS
]

DAMAGED_RUN = [
    ("no weights", gone(model, "weights.safetensors")),
    ("weights cut short", cut(model, "weights.safetensors", 0.5)),
    ("weights empty", cut(model, "weights.safetensors", 0)),
    ("a bit of the weights", flip(model, "weights.safetensors", 0.9)),
    ("a bit of their header", flip(model, "weights.safetensors", 0.0)),
    ("weights a pickle", pickled(model, "weights.safetensors")),
    ("no description", gone(model, "model.json")),
    ("description cut short", cut(model, "model.json", 0.5)),
    ("description a list", changed(model, "model.json", lambda told: [told])),
    ("a later format", changed(model, "model.json", lambda told: {**told, "format": 99})),
    (
        "a larger vocabulary",
        changed(model, "model.json", lambda told: {**told, "characters": [*told["characters"], "~"]}),
    ),
    ("another vocabulary", changed(model, "model.json", lambda told: {**told, "characters": ["a", "b"]})),
    (
        "another size",
        changed(
            model, "model.json", lambda told: {**told, "architecture": {**told["architecture"], "hidden": 9}}
        ),
    ),
    (
        "a cell that there is not",
        changed(
            model, "model.json", lambda told: {**told, "architecture": {**told["architecture"], "cell": "x"}}
        ),
    ),
    ("config cut short", cut(of_the_run, "config.json", 0.5)),
    ("config gone", gone(of_the_run, "config.json")),
    ("scores cut short", cut(of_the_run, "scores.json", 0.5)),
]
REFUSED_RUNS = [
    Case(command, ("run=first", "tracking=none", *PLACES, *more), ("run", "first"), prepare, run=True,
         name=f"{command}: {name}")
    for name, prepare in DAMAGED_RUN
    for command, more in (("evaluate", ()), ("sample", ("prompt=the ",)))
]  # fmt: skip
REFUSED_RUNS += [
    Case("evaluate", ("run=first", "tracking=none", *PLACES), ("data.path", "text.txt"),
         lambda root: (root / "text.txt").unlink(), run=True, name="evaluate: its text is gone"),
    Case("evaluate", ("run=first", "tracking=none", *PLACES), ("run", "other characters"),
         text(("other words 123 " * 99).encode()), run=True, makes=CORPUS,
         name="evaluate: its text is another"),
    Case("evaluate", ("run=latest", "tracking=none", *PLACES), ("run", "none: train one first")),
    Case("evaluate", ("run=nobody", "tracking=none", *PLACES), ("run", "nobody"), run=True),
    Case("evaluate", ("run=../../..", "tracking=none", *PLACES), ("run", "../../.."), run=True),
    Case("evaluate", ("run=../runs/first", "tracking=none", *PLACES), ("run", "../runs/first"), run=True),
    Case("sample", ("run=/etc", "tracking=none", *PLACES), ("run", "/etc"), run=True),
    Case("sample", ("run=", "tracking=none", *PLACES), ("run",), run=True),
    Case("sample", ("run=first", "prompt=the suß", "tracking=none", *PLACES), ("prompt", "'ß'"), run=True),
    Case("train", ("rerun=nobody", "tracking=none", *PLACES), ("rerun", "nobody"), run=True),
    Case("train", ("rerun=../runs/first", "tracking=none", *PLACES), ("rerun", "../runs/first"), run=True),
    Case("play", ("left=nobody", f"port={PORT}", "tracking=none", *PLACES), ("left", "nobody"), run=True),
    Case("evaluate", ("run=latest", *PLACES), ("run", "none: train one first")),
    Case("evaluate", ("run=latest", "tracking.uri=sqlite:////proc/none/m.db", *PLACES), ("run",)),
    Case("sample", ("tracking.uri=klingon://host", *PLACES), ("tracking.uri", "klingon")),
    Case("evaluate", ("run=" + "0" * 32, "tracking.uri=sqlite:///text.txt", *PLACES), ("tracking.uri",),
         makes=("text.txt.lock",)),
]  # fmt: skip


# --- places ---


def no_entry(root: Path) -> None:
    (root / "closed").mkdir(mode=0o500)


OUT_OF_REACH = ["/proc/none", "/dev/null/x", "text.txt", "text.txt/below"] + (
    ["closed/x"] if not ROOT else []
)
REFUSED_PLACES = [
    Case("train", (*TINY, f"{key}={place}", f"{other}=elsewhere"), ("a place to write to", place), no_entry,
         makes=() if key == "data_dir" else ("elsewhere", "elsewhere/*", "elsewhere/*/*"))
    for key, other in (("outputs", "data_dir"), ("data_dir", "outputs"))
    for place in OUT_OF_REACH
]  # fmt: skip
REFUSED_PLACES += [
    Case("ui", ("host=256.0.0.1", *PLACES), ("host", "256.0.0.1"), makes=("outputs",)),
    Case("server", ("host=nowhere.invalid", *PLACES), ("host", "nowhere.invalid")),
    Case("server", ("backend=klingon://x", f"port={PORT}", *PLACES), ("backend",)),
]


# --- delivery ---


def journal(store: str) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "run").mkdir()
        (root / "run" / "tracking.json").write_text(store)
        (root / "run" / "journal.jsonl").touch()

    return prepare


def delivered(note: str) -> Prepare:
    def prepare(root: Path) -> None:
        journal('{"uri": "sqlite:///m.db", "artifacts": ""}')(root)
        (root / "run" / "delivered.json").write_text(note)

    return prepare


REFUSED_DELIVERIES = [
    Case("deliver", ("nowhere",), ("directory of a tracked run", "nowhere")),
    Case("deliver", ("text.txt",), ("directory of a tracked run", "text.txt")),
    Case("deliver", ("run", "b"), ("directory of a tracked run", "got b"), journal("{}")),
    Case(
        "deliver",
        ("run",),
        ("delivered.json", "damaged"),
        delivered("{"),
        makes=("run/deliver.lock",),
        name="deliver: note cut short",
    ),
    Case(
        "deliver",
        ("run",),
        ("delivered.json", "damaged"),
        delivered("[]"),
        makes=("run/deliver.lock",),
        name="deliver: note a list",
    ),
    Case("deliver", ("run",), ("tracking.json",), journal("{"), name="deliver: store cut short"),
    Case("deliver", ("run",), ("tracking.json",), journal("[]"), name="deliver: store a list"),
]


# --- training ---

REFUSED_TRAININGS = [
    Case("train", (*TINY, *PLACES, "model.activation=relu", "optimizer=sgd", "clip=null", "lr=1e30"),
         ("lr", "finite", "smaller lr"), makes=EVERYTHING, name="train: it diverges"),
    Case("train", (*TINY, *PLACES, "hidden=10000000"), ("memory", "hidden"),
         makes=EVERYTHING, name="train: more memory than there is"),
]  # fmt: skip

# --- command lines (tests/test_cli.py has more of them, in its own process) ---

SYNTAX = [
    Case("train", ("hiden=3", *PLACES), ("hiden", "did you mean hidden?")),
    Case("train", ("hidden", *PLACES), ("hidden",)),
    Case("train", ("hidden=1,2", *PLACES), ("hidden", "--multirun")),
    Case("train", ("hidden={", *PLACES), ("hidden",)),
    Case("train", ("+new=1", *PLACES), ("new",)),
    Case("train", ("~lr", *PLACES), ("lr",)),
    Case("train", ("--nonsense", *PLACES), ("--nonsense",)),
    Case("train", ("experiment=none_of_these", *PLACES), ("experiment", "none_of_these")),
    Case("train", ("data=../../etc/passwd", *PLACES), ("data", "passwd")),
    Case("train", (*TINY, *PLACES, "eval_chars=-1"), ("eval_chars", "integer >= 1")),
    Case("train", (*TINY, *PLACES, "rollback_lr=0"), ("rollback_lr", "a number > 0 and < 1")),
    Case("train", (*TINY, *PLACES, "rollback_lr=nan"), ("rollback_lr", "got nan")),
    Case("train", (*TINY, *PLACES, "max_rollbacks=null"), ("max_rollbacks", "got null")),
    Case("train", (*TINY, *PLACES, "on_divergence=null"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PLACES, "on_divergence=true"), ("on_divergence", "stop, rollback")),
    Case("train", (*TINY, *PLACES, "data.max_vocabulary=1"), ("data.max_vocabulary", ">= 2 and <= 65536")),
    *(
        Case(command, (f"temperatures={given}", *PLACES), ("temperatures", "one or more numbers >= 0"))
        for command in ("train", "evaluate")
        for given in ("[0.7,-0.1]", "[nan]", "[inf]", "[0.7,0.7]", "null")
    ),
    Case("reproduce", ("size=huge", *PLACES), ("size", "quick, full", "huge")),
    Case("reproduce", ("only=cells", *PLACES), ("only", "karpathy2015", "cells")),
    Case("reproduce", ("only=[cells,cells]", *PLACES), ("only", "each once")),
    Case("reproduce", ("only=[karpathy2015]", *PLACES), ("warandpeace", "null")),
    Case("reproduce", ("warandpeace=none.txt", *PLACES), ("warandpeace", "none.txt")),
    Case("reproduce", ("warandpeace=text.txt", *PLACES), ("warandpeace", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=text.txt", *PLACES), ("tinyshakespeare", "sha256", "text.txt")),
    Case("reproduce", ("tinyshakespeare=.", *PLACES), ("tinyshakespeare", "readable text file")),
    Case(
        "reproduce",
        ("warandpeace=text.txt", *PLACES),
        ("warandpeace", "read twice"),
        pipe,
        name="reproduce: a pipe",
    ),
    Case("train", ("rerun=first", "hidden=3", "tracking=none", *PLACES), ("rerun", "hidden=3"), run=True),
    Case("preprocess", ("rerun=first", *PLACES), ("rerun", "first")),
    Case("train", ("model=gru", "model.activation=relu", *PLACES), ("model.activation", "relu")),
    Case("train", ("model=lstm", "model.init=identity", *PLACES), ("model.init", "identity")),
    Case("train", ("model.dropout=0.5", *PLACES), ("model.dropout", "0.5")),
    Case("train", ("register=true", "tracking=none", *PLACES), ("register", "true")),
]

# --- runs that go on, and weights to begin with ---

RUN = "outputs/runs/first"
LONGER = ("max_epochs=1", "tracking=none", *PLACES)  # something is left to do


def checkpoint(root: Path, name: str) -> Path:
    """The newest, the only one that is left."""
    *older, newest = sorted((root / RUN / "checkpoints").iterdir())
    for file in older:
        file.unlink()
    return newest


def both(damage: Callable[[Callable[[Path, str], Path], str], Prepare]) -> Prepare:
    def prepare(root: Path) -> None:
        newest = checkpoint(root, "")
        shutil.copy(newest, newest.with_name("step_00000001.safetensors"))
        for k in (0, 1):
            damage(lambda root, name, k=k: sorted((root / RUN / "checkpoints").iterdir())[k], "")(root)

    return prepare


def without_model(prepare: Prepare) -> Prepare:
    """As a run is that was killed: checkpoints, and no model of its end."""

    def prepared(root: Path) -> None:
        shutil.rmtree(root / RUN / "model")
        prepare(root)

    return prepared


def at_work(root: Path) -> Held:
    """Another process trains the run."""
    return hold(root / RUN)


def garbled_journal(root: Path) -> None:
    lines = (root / RUN / "journal.jsonl").read_text().splitlines(keepends=True)
    (root / RUN / "journal.jsonl").write_text("".join([*lines[:3], "{]\n", *lines[3:]]))


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
    ("a journal that ends before it", lambda root: (root / RUN / "journal.jsonl").write_text("")),
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
    Case("train", ("resume=first", *LONGER), ("resume", "version of the project", "first"), prepare, run=True,
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
    (f"resume={RUN}/journal.jsonl", (), ("resume", "whole checkpoint", "journal.jsonl"), nothing),
    (f"resume={RUN}/checkpoints/step_00000001.safetensors", (), ("resume", "step_00000001"), nothing),
    ("resume=first", ("hidden=9",), ("resume", "hidden=9 (it has 8)", "init_from=first"), nothing),
    ("resume=first", ("model=gru",), ("resume", "model=gru (it has rnn)"), nothing),
    ("resume=first", ("seed=2", "lr=1"), ("resume", "lr=1.0 (it has", "seed=2 (it has 1)"), nothing),
    ("resume=first", ("data.lowercase=true",), ("resume", "data.lowercase=True (it has False)"), nothing),
    ("resume=first", ("data.encoding=bytes",), ("resume", "data.encoding=bytes (it has utf-8)"), nothing),
    ("resume=first", ("init_from=first",), ("resume", "init_from=first (it has None)"), nothing),
    ("resume=first", ("rerun=first",), ("rerun", "got"), nothing),
    ("resume=first", ("max_epochs=-1",), ("max_epochs", "-1"), nothing),
    ("resume=first", ("max_epochs=0.05",), ("resume", "left to do", "max_epochs"), nothing),
    ("resume=first", ("prompt=the suß",), ("prompt", "'ß'"), nothing),
    ("resume=first", ("register=true",), ("register", "true"), nothing),
    ("resume=first", (), ("resume", "corpus of run first", "text changed"), text((VERSE * 101).encode())),
    ("resume=first", (), ("data.path", "text.txt"), lambda root: (root / "text.txt").unlink()),
    ("resume=first", (), ("data.path", "read twice"), pipe),
    ("resume=first", (), ("data_dir", "damaged"), flip(prepared, "tokens.npy", 0.9)),
    ("resume=first", (), ("journal.jsonl", "damaged"), garbled_journal),
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
    Case("train", ("resume=first", "tracking=none", *PLACES), ("left to do", "max_epochs"), run=True),
    Case("train", ("resume=latest", "tracking=none", *PLACES), ("resume", "interrupted", "none"), run=True),
    Case("train", ("resume=latest", *LONGER), ("resume", "interrupted", "none"), name="resume: no runs"),
    Case("train", ("rerun=first", "tracking=none", *PLACES), ("journal.jsonl", "damaged"), garbled_journal,
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

HAND_MADE = [
    *REFUSED_TEXTS, *REFUSED_CORPORA, *REFUSED_RUNS, *REFUSED_PLACES, *REFUSED_DELIVERIES, *REFUSED_TRAININGS,
    *REFUSED_RESUMPTIONS, *SYNTAX,
]  # fmt: skip
SCHEMA = list(schema_cases())


@pytest.fixture(scope="module")
def finished(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, and a finished run on it in outputs/runs/first."""
    root = tmp_path_factory.mktemp("finished")
    (root / "text.txt").write_text(VERSE * 100)
    ended = command("src.train", *TINY, *PLACES, folder=root)
    assert ended.rc == 0, ended.err
    (folder,) = (root / "outputs" / "runs").iterdir()
    folder.rename(folder.with_name("first"))
    return root


def tree(root: Path) -> dict[str, str]:
    """What lies below a directory: a file's digest, where a link leads, `/` of a directory, `|` of a pipe."""
    told = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            told[name] = f"-> {os.readlink(path)}"
        else:
            told[name] = "/" if path.is_dir() else "|"
            if path.is_file():
                told[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return told


def unfinished(root: Path, names: set[str]) -> None:
    """New runs look like what they are: no scores, and a journal that ends with FAILED."""
    for name in names:
        if name.endswith("journal.jsonl"):
            last = json.loads((root / name).read_text().splitlines()[-1])
            assert (last["kind"], last["status"]) == ("end", "FAILED")
        assert not name.endswith("scores.json"), name


@pytest.mark.parametrize("case", [*HAND_MADE, *SCHEMA], ids=lambda case: case.id)
def test_bad_input_is_a_line_and_a_status_and_nothing_is_lost(
    case: Case, command: Commands, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    if case.run:
        finished = request.getfixturevalue("finished")
        shutil.copytree(finished, root, symlinks=True)
        config = root / "outputs" / "runs" / "first" / "config.json"
        config.write_text(config.read_text().replace(str(finished), str(root)))
    else:
        root.mkdir()
        (root / "text.txt").write_text(VERSE * 100)
    holder = case.prepare(root)
    locked = [path for path in root.rglob("*") if path.is_file() and not os.access(path, os.R_OK)]
    assert not locked or not ROOT
    before = tree(root) if not locked else {}
    ended = command(f"src.{case.command}", *case.arguments, folder=root)
    for path in locked:
        path.chmod(0o600)
    if isinstance(holder, Held):
        holder.release()
    assert ended.rc == case.status, ended
    assert "Traceback" not in ended.err + ended.out
    (line,) = [line for line in ended.err.splitlines() if not STAGE.match(line)]
    assert line.startswith(f"{case.command}: ")
    for words in ("expected", "got", *case.says):
        assert words in line
    assert len(line) < 700
    after = tree(root)
    kept = {name: what for name, what in before.items() if not (case.makes and what.startswith("->"))}
    assert {name: after.get(name) for name in kept} == kept
    made = set() if locked else after.keys() - before.keys()
    allowed = {str(path.relative_to(root)) for pattern in case.makes for path in root.glob(pattern)}
    assert made <= allowed
    assert not [name for name in made if Path(name).name.startswith(".") or name.endswith(".tmp")]
    unfinished(root, made)


def test_the_table_is_long_and_has_every_key() -> None:
    assert len(HAND_MADE) >= 100
    keys = {argument.partition("=")[0] for case in SCHEMA for argument in case.arguments}
    for kind in (*COMMANDS.values(), *OPTIMIZERS.values(), *SCHEDULES.values()):
        texts = {
            f.name for f in fields(kind) if getattr(f.metadata.get("allowed"), "kind", "") in ("a text", "")
        }
        assert {f.name for f in fields(kind)} - texts <= {key.rpartition(".")[2] for key in keys}
    assert len({case.id for case in [*HAND_MADE, *SCHEMA]}) == len([*HAND_MADE, *SCHEMA])


@pytest.mark.parametrize(
    "case", [REFUSED_TEXTS[0], REFUSED_CORPORA[0], REFUSED_DELIVERIES[0]], ids=lambda c: c.id
)
def test_a_process_of_its_own_says_the_same(
    case: Case, command: Commands, tmp_path: Path, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "root", symlinks=True)
    case.prepare(tmp_path / "root")
    forked = command(f"src.{case.command}", *case.arguments, folder=tmp_path / "root")
    fresh = subprocess.run(
        [sys.executable, "-m", f"src.{case.command}", *case.arguments], cwd=tmp_path / "root",
        env=environ(PYTHONPATH=str(PROJECT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (forked.rc, forked.out, forked.err)


@pytest.mark.parametrize("command", ["ui", "server", "play"])
def test_servers_bind_to_the_loopback_unless_told_otherwise(command: str, typed: Callable[..., Any]) -> None:
    configs: list[Any] = []
    assert typed(command, body=configs.append).rc == 0
    assert ipaddress.ip_address(configs[0].host).is_loopback
