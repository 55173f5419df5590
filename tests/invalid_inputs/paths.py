"""Unwritable paths, invalid event logs, and failing training runs."""

from pathlib import Path

from tests.invalid_inputs.case import EVERYTHING, PATHS, PORT, ROOT, TINY, Case, Prepare


def unwritable_directory(root: Path) -> None:
    (root / "closed").mkdir(mode=0o500)


UNWRITABLE = ["/proc/none", "/dev/null/x", "text.txt", "text.txt/below"] + (["closed/x"] if not ROOT else [])
UNWRITABLE_PATHS = [
    Case(
        "train",
        (*TINY, f"{key}={place}", f"{other}=elsewhere"),
        ("a writable path", place),
        unwritable_directory,
        creates=() if key == "data_dir" else ("elsewhere", "elsewhere/*", "elsewhere/*/*"),
    )
    for key, other in (("output_dir", "data_dir"), ("data_dir", "output_dir"))
    for place in UNWRITABLE
]
UNWRITABLE_PATHS += [
    Case("ui", ("host=256.0.0.1", *PATHS), ("host", "256.0.0.1"), creates=("outputs",)),
    Case("server", ("host=nowhere.invalid", *PATHS), ("host", "nowhere.invalid")),
    Case("server", ("backend_store_uri=klingon://x", f"port={PORT}", *PATHS), ("backend_store_uri",)),
]


def empty_event_log(store: str) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "run").mkdir()
        (root / "run" / "tracking.json").write_text(store)
        (root / "run" / "events.jsonl").touch()

    return prepare


def sync_state(text: str) -> Prepare:
    def prepare(root: Path) -> None:
        empty_event_log('{"uri": "sqlite:///m.db", "artifacts": ""}')(root)
        (root / "run" / "sync_state.json").write_text(text)

    return prepare


INVALID_SYNCS = [
    Case("sync", ("nowhere",), ("directory of a tracked run", "nowhere")),
    Case("sync", ("text.txt",), ("directory of a tracked run", "text.txt")),
    Case("sync", ("run", "b"), ("directory of a tracked run", "got b"), empty_event_log("{}")),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "damaged"),
        sync_state("{"),
        creates=("run/sync.lock",),
        name="sync: note cut short",
    ),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "damaged"),
        sync_state("[]"),
        creates=("run/sync.lock",),
        name="sync: note a list",
    ),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "offset"),
        sync_state('{"offset": -1, "run_id": "", "experiment": "", "ended": false}'),
        creates=("run/sync.lock",),
        name="sync: note of a negative offset",
    ),
    Case("sync", ("run",), ("tracking.json",), empty_event_log("{"), name="sync: store cut short"),
    Case("sync", ("run",), ("tracking.json",), empty_event_log("[]"), name="sync: store a list"),
    Case(
        "sync", ("run",), ("tracking.json", "uri"), empty_event_log('{"uri": 1}'), name="sync: store a number"
    ),
]


FAILING_TRAININGS = [
    Case("train", (*TINY, *PATHS, "model.activation=relu", "optimizer=sgd", "clip=null", "lr=1e30"),
         ("lr", "finite", "smaller lr"), creates=EVERYTHING, name="train: it diverges"),
    Case("train", (*TINY, *PATHS, "hidden=10000000"), ("memory", "hidden"),
         creates=EVERYTHING, name="train: too little memory"),
]  # fmt: skip
