"""Damaged corpora and runs."""

from tests.invalid_inputs.case import CORPUS, PATHS, PORT, TINY, Case
from tests.invalid_inputs.file_damage import (
    corpus_file,
    edit_json,
    flip_bit,
    model_file,
    object_tokens,
    remove,
    replace_by_pickle,
    run_file,
    truncate,
)
from tests.invalid_inputs.texts import text

DAMAGED_CORPUS = [
    ("tokens cut short", truncate(corpus_file, "tokens.npy", 0.5)),
    ("tokens cut to the header", truncate(corpus_file, "tokens.npy", 0.01)),
    ("a bit of the tokens", flip_bit(corpus_file, "tokens.npy", 0.9)),
    ("a bit of their header", flip_bit(corpus_file, "tokens.npy", 0.001)),
    ("tokens a pickle", replace_by_pickle(corpus_file, "tokens.npy")),
    ("tokens of objects", object_tokens),
    ("tokens gone", remove(corpus_file, "tokens.npy")),
    ("vocabulary cut short", truncate(corpus_file, "vocab.json", 0.5)),
    (
        "vocabulary of others",
        edit_json(corpus_file, "vocab.json", lambda vocabulary: [*vocabulary[:-1], "~"]),
    ),
    ("manifest empty", truncate(corpus_file, "manifest.json", 0)),
    ("manifest a list", edit_json(corpus_file, "manifest.json", lambda content: [])),
    (
        "manifest of other splits",
        edit_json(corpus_file, "manifest.json", lambda content: {**content, "splits": {}}),
    ),
]
REFUSED_CORPORA = [
    Case("train", (*TINY, *PATHS), ("data_dir", "file-"), prepare, has_run=True, name=f"corpus: {name}")
    for name, prepare in DAMAGED_CORPUS
]

DAMAGED_RUN = [
    ("no weights", remove(model_file, "weights.safetensors")),
    ("weights cut short", truncate(model_file, "weights.safetensors", 0.5)),
    ("weights empty", truncate(model_file, "weights.safetensors", 0)),
    ("a bit of the weights", flip_bit(model_file, "weights.safetensors", 0.9)),
    ("a bit of their header", flip_bit(model_file, "weights.safetensors", 0.0)),
    ("weights a pickle", replace_by_pickle(model_file, "weights.safetensors")),
    ("no description", remove(model_file, "model.json")),
    ("description cut short", truncate(model_file, "model.json", 0.5)),
    ("description a list", edit_json(model_file, "model.json", lambda content: [content])),
    ("a later format", edit_json(model_file, "model.json", lambda content: {**content, "format": 99})),
    (
        "a larger vocabulary",
        edit_json(
            model_file, "model.json", lambda content: {**content, "characters": [*content["characters"], "~"]}
        ),
    ),
    (
        "another vocabulary",
        edit_json(model_file, "model.json", lambda content: {**content, "characters": ["a", "b"]}),
    ),
    (
        "another size",
        edit_json(
            model_file,
            "model.json",
            lambda content: {**content, "architecture": {**content["architecture"], "hidden": 9}},
        ),
    ),
    (
        "unknown cell",
        edit_json(
            model_file,
            "model.json",
            lambda content: {**content, "architecture": {**content["architecture"], "cell": "x"}},
        ),
    ),
    ("config cut short", truncate(run_file, "config.json", 0.5)),
    ("scores cut short", truncate(run_file, "scores.json", 0.5)),
]
REFUSED_RUNS = [
    Case(command, ("run=first", "tracking=none", *PATHS, *more), ("run", "first"), prepare, has_run=True,
         name=f"{command}: {name}")
    for name, prepare in DAMAGED_RUN
    for command, more in (("evaluate", ()), ("sample", ("prompt=the ",)))
]  # fmt: skip
REFUSED_RUNS += [
    Case("evaluate", ("run=first", "tracking=none", *PATHS), ("data.path", "text.txt"),
         lambda root: (root / "text.txt").unlink(), has_run=True, name="evaluate: its text is gone"),
    Case("evaluate", ("run=first", "tracking=none", *PATHS), ("run", "other characters"),
         text(("other words 123 " * 99).encode()), has_run=True, creates=CORPUS,
         name="evaluate: its text is another"),
    Case("evaluate", ("run=latest", "tracking=none", *PATHS), ("run", "none: train one first")),
    Case("evaluate", ("run=nobody", "tracking=none", *PATHS), ("run", "nobody"), has_run=True),
    Case("evaluate", ("run=../../..", "tracking=none", *PATHS), ("run", "../../.."), has_run=True),
    Case("evaluate", ("run=../runs/first", "tracking=none", *PATHS), ("run", "../runs/first"), has_run=True),
    Case("sample", ("run=/etc", "tracking=none", *PATHS), ("run", "/etc"), has_run=True),
    Case("sample", ("run=", "tracking=none", *PATHS), ("run",), has_run=True),
    Case("sample", ("run=first", "prompt=the suß", "tracking=none", *PATHS), ("prompt", "'ß'"), has_run=True),
    Case("train", ("rerun=nobody", "tracking=none", *PATHS), ("rerun", "nobody"), has_run=True),
    Case("train", ("rerun=../runs/first", "tracking=none", *PATHS), ("rerun", "../runs/first"), has_run=True),
    Case("play", ("left=nobody", f"port={PORT}", "tracking=none", *PATHS), ("left", "nobody"), has_run=True),
    Case("evaluate", ("run=latest", *PATHS), ("run", "none: train one first")),
    Case("evaluate", ("run=latest", "tracking.uri=sqlite:////proc/none/m.db", *PATHS), ("run",)),
    Case("sample", ("tracking.uri=klingon://host", *PATHS), ("tracking.uri", "klingon")),
    Case("evaluate", ("run=" + "0" * 32, "tracking.uri=sqlite:///text.txt", *PATHS), ("tracking.uri",),
         creates=("text.txt.lock",)),
]  # fmt: skip
