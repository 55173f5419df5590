"""Damaged corpora and runs, and runs that do not exist.

Every damage that a loader rejects is in tests/data/test_corpus_invalid.py, tests/models/test_serialization.py
and tests/training/test_checkpoint.py.
"""

from tests.invalid_inputs.case import CORPUS, PATHS, PORT, TINY, UNTRACKED, Case
from tests.invalid_inputs.files import RUN, cut, edit_json, flip_bit, remove, text, without_text

TOKENS, MODEL = "data/text-*/tokens.npy", f"{RUN}/model/model.json"
WEIGHTS = f"{RUN}/model/weights.safetensors"
REFUSED_CORPORA = [
    Case("train", (*TINY, *PATHS), ("data_dir", "text-"), prepare, has_run=True, name=f"corpus: {name}")
    for name, prepare in (
        ("tokens cut short", cut(TOKENS)),
        ("a bit of the tokens", flip_bit(TOKENS)),
        ("vocabulary cut short", cut("data/text-*/vocab.json")),
        ("manifest of other splits", edit_json("data/*/manifest.json", lambda old: old | {"splits": {}})),
    )
]  # fmt: skip

DAMAGED_MODELS = [
    ("no weights", remove(WEIGHTS)),
    ("weights cut short", cut(WEIGHTS)),
    ("a bit of the weights", flip_bit(WEIGHTS)),
    ("description a list", edit_json(MODEL, lambda old: [old])),
    ("a later format", edit_json(MODEL, lambda old: old | {"format": 99})),
    ("another vocabulary", edit_json(MODEL, lambda old: old | {"characters": ["a", "b"]})),
]
REFUSED_RUNS = [
    Case(command, ("run=first", *UNTRACKED), ("run", "first"), prepare, has_run=True,
         name=f"{command}: {name}")
    for command, name, prepare in (
        *(("evaluate", *damage) for damage in DAMAGED_MODELS),
        ("evaluate", "no description", remove(MODEL)),
        ("evaluate", "config cut short", cut(f"{RUN}/config.json")),
        ("evaluate", "scores cut short", cut(f"{RUN}/scores.json")),
        ("sample", "no weights", remove(WEIGHTS)),
        ("sample", "config cut short", cut(f"{RUN}/config.json")),
        ("sample", "scores cut short", cut(f"{RUN}/scores.json")),
    )
]  # fmt: skip
REFUSED_RUNS += [
    Case(command, (argument, *UNTRACKED), expected, has_run=True)
    for command, argument, expected in (
        ("evaluate", "run=nobody", ("run", "nobody")),
        ("evaluate", "run=../../..", ("run", "../../..")),
        ("evaluate", "run=../runs/first", ("run", "../runs/first")),
        ("sample", "run=/etc", ("run", "/etc")),
        ("sample", "run=", ("run",)),
        ("sample", "prompt=the suß", ("prompt", "'ß'")),
        ("train", "rerun=nobody", ("rerun", "nobody")),
        ("train", "rerun=../runs/first", ("rerun", "../runs/first")),
    )
]
REFUSED_RUNS += [
    Case("evaluate", ("run=first", *UNTRACKED), ("data.path", "text.txt"), without_text, has_run=True,
         name="evaluate: its text is gone"),
    Case("evaluate", ("run=first", *UNTRACKED), ("run", "other characters"),
         text(b"other words 123 " * 99), has_run=True, creates=CORPUS, name="evaluate: its text is another"),
    Case("play", ("left=nobody", f"port={PORT}", *UNTRACKED), ("left", "nobody"), has_run=True),
    Case("evaluate", ("run=latest", *UNTRACKED), ("run", "none: train one first")),
    Case("evaluate", ("run=latest", *PATHS), ("run", "none: train one first")),
    Case("evaluate", ("run=latest", "tracking.uri=sqlite:////proc/none/m.db", *PATHS), ("run",)),
    Case("sample", ("tracking.uri=klingon://host", *PATHS), ("tracking.uri", "klingon")),
    Case("evaluate", ("run=" + "0" * 32, "tracking.uri=sqlite:///text.txt", *PATHS), ("tracking.uri",),
         creates=("text.txt.lock",)),
]  # fmt: skip
