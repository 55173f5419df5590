"""Corpora and runs that were whole once."""

from tests.invalid_inputs.case import CORPUS, PLACES, PORT, TINY, Case
from tests.invalid_inputs.damage import (
    changed,
    cut,
    flip,
    gone,
    model,
    objects,
    of_the_run,
    pickled,
    prepared,
)
from tests.invalid_inputs.texts import text

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
