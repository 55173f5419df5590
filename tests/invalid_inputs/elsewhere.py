"""Places that cannot be written to, journals that cannot be delivered, trainings that cannot succeed."""

from pathlib import Path

from tests.invalid_inputs.case import EVERYTHING, PLACES, PORT, ROOT, TINY, Case, Prepare


def no_entry(root: Path) -> None:
    (root / "closed").mkdir(mode=0o500)


OUT_OF_REACH = ["/proc/none", "/dev/null/x", "text.txt", "text.txt/below"] + (
    ["closed/x"] if not ROOT else []
)
REFUSED_PLACES = [
    Case("train", (*TINY, f"{key}={place}", f"{other}=elsewhere"), ("a writable path", place), no_entry,
         makes=() if key == "data_dir" else ("elsewhere", "elsewhere/*", "elsewhere/*/*"))
    for key, other in (("output_dir", "data_dir"), ("data_dir", "output_dir"))
    for place in OUT_OF_REACH
]  # fmt: skip
REFUSED_PLACES += [
    Case("ui", ("host=256.0.0.1", *PLACES), ("host", "256.0.0.1"), makes=("outputs",)),
    Case("server", ("host=nowhere.invalid", *PLACES), ("host", "nowhere.invalid")),
    Case("server", ("backend_store_uri=klingon://x", f"port={PORT}", *PLACES), ("backend_store_uri",)),
]


def journal(store: str) -> Prepare:
    def prepare(root: Path) -> None:
        (root / "run").mkdir()
        (root / "run" / "tracking.json").write_text(store)
        (root / "run" / "events.jsonl").touch()

    return prepare


def delivered(note: str) -> Prepare:
    def prepare(root: Path) -> None:
        journal('{"uri": "sqlite:///m.db", "artifacts": ""}')(root)
        (root / "run" / "sync_state.json").write_text(note)

    return prepare


REFUSED_DELIVERIES = [
    Case("sync", ("nowhere",), ("directory of a tracked run", "nowhere")),
    Case("sync", ("text.txt",), ("directory of a tracked run", "text.txt")),
    Case("sync", ("run", "b"), ("directory of a tracked run", "got b"), journal("{}")),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "damaged"),
        delivered("{"),
        makes=("run/sync.lock",),
        name="sync: note cut short",
    ),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "damaged"),
        delivered("[]"),
        makes=("run/sync.lock",),
        name="sync: note a list",
    ),
    Case(
        "sync",
        ("run",),
        ("sync_state.json", "offset"),
        delivered('{"offset": -1, "run_id": "", "experiment": "", "ended": false}'),
        makes=("run/sync.lock",),
        name="sync: note of a negative offset",
    ),
    Case("sync", ("run",), ("tracking.json",), journal("{"), name="sync: store cut short"),
    Case("sync", ("run",), ("tracking.json",), journal("[]"), name="sync: store a list"),
    Case("sync", ("run",), ("tracking.json", "uri"), journal('{"uri": 1}'), name="sync: store a number"),
]


REFUSED_TRAININGS = [
    Case("train", (*TINY, *PLACES, "model.activation=relu", "optimizer=sgd", "clip=null", "lr=1e30"),
         ("lr", "finite", "smaller lr"), makes=EVERYTHING, name="train: it diverges"),
    Case("train", (*TINY, *PLACES, "hidden=10000000"), ("memory", "hidden"),
         makes=EVERYTHING, name="train: more memory than there is"),
]  # fmt: skip
