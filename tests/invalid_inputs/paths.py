"""Unwritable paths, invalid event logs, and failing training runs."""

from pathlib import Path

from tests.invalid_inputs.case import EVERYTHING, PATHS, PORT, ROOT, TINY, Case, Prepare


def unwritable_directory(root: Path) -> None:
    (root / "closed").mkdir(mode=0o500)


UNWRITABLE = ["/proc/none", "text.txt", "text.txt/below"] + (["closed/x"] if not ROOT else [])
UNWRITABLE_PATHS = [
    Case("train", (*TINY, f"{key}={place}", f"{other}=elsewhere"), ("a writable path", place),
         unwritable_directory, creates=creates)
    for key, other, creates in (
        ("output_dir", "data_dir", ("elsewhere", "elsewhere/*", "elsewhere/*/*")),
        ("data_dir", "output_dir", ()),
    )
    for place in UNWRITABLE
]  # fmt: skip
UNWRITABLE_PATHS += [
    Case("ui", ("host=256.0.0.1", *PATHS), ("host", "256.0.0.1"), creates=("outputs",)),
    Case("server", ("host=nowhere.invalid", *PATHS), ("host", "nowhere.invalid")),
    Case("server", ("backend_store_uri=klingon://x", f"port={PORT}", *PATHS), ("backend_store_uri",)),
]


def event_log(store: str, sync_state: str = "") -> Prepare:
    """Create a run directory with an empty event log."""

    def prepare(root: Path) -> None:
        (root / "run").mkdir()
        (root / "run" / "events.jsonl").touch()
        (root / "run" / "tracking.json").write_text(store)
        if sync_state:
            (root / "run" / "sync_state.json").write_text(sync_state)

    return prepare


STORE = '{"uri": "sqlite:///m.db", "artifacts": ""}'
NEGATIVE = '{"offset": -1, "run_id": "", "experiment": "", "ended": false}'
INVALID_SYNCS = [
    Case("sync", ("nowhere",), ("directory of a tracked run", "nowhere")),
    Case("sync", ("text.txt",), ("directory of a tracked run", "text.txt")),
    Case("sync", ("run", "b"), ("directory of a tracked run", "got b"), event_log("{}")),
    *(
        Case("sync", ("run",), expected, event_log(store, state),
             creates=("run/sync.lock",) if state else (), name=f"sync: {store} {state}")
        for store, state, expected in (
            (STORE, "{", ("sync_state.json", "damaged")),
            (STORE, "[]", ("sync_state.json", "damaged")),
            (STORE, NEGATIVE, ("sync_state.json", "offset")),
            ("{", "", ("tracking.json",)),
            ("[]", "", ("tracking.json",)),
            ('{"uri": 1}', "", ("tracking.json", "uri")),
        )
    ),
]  # fmt: skip

FAILING_TRAININGS = [
    Case("train", (*TINY, *PATHS, "model.activation=relu", "optimizer=sgd", "clip=null", "lr=1e30"),
         ("lr", "finite", "smaller lr"), creates=EVERYTHING, name="train: it diverges"),
    Case("train", (*TINY, *PATHS, "hidden=10000000"), ("memory", "hidden"),
         creates=EVERYTHING, name="train: too little memory"),
]  # fmt: skip
