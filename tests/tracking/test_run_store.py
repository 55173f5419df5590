"""Finished runs in run directories: lookup, comparison, and damaged runs."""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest

from src.common.errors import UserError
from src.config.schema import PathsConfig, TrackingConfig
from src.data.normalization import Normalization
from src.data.vocabulary import Vocabulary
from src.models import serialization
from src.models.serialization import TrainedModel
from src.rnn.parameters import RNNConfig
from src.tracking import run_store
from src.tracking.directory_store import DirectoryStore
from src.tracking.event_log import NAME, EventLog
from src.tracking.run_record import RunRecord
from src.tracking.run_store import find_folder, open_store
from src.tracking.sync_state import TRACKING, SyncState


class Outputs:
    """Run directories, each newer than the previous one."""

    def __init__(self, folder: Path) -> None:
        self.store = DirectoryStore(folder)
        self.runs, self.count = folder / "runs", 0

    def add(
        self, name: str, status: str = "FINISHED", reason: str = "", digest: str = "d" * 64,
        loss: float = 1.5, **tags: str,
    ) -> Path:  # fmt: skip
        """Add a run; status "" leaves it without an end event."""
        folder = self.runs / name
        folder.mkdir(parents=True)
        event_log = EventLog(folder)
        data = {"name": "tiny", "digest": digest, "source": "s", "profile": {}}
        event_log.start("e", f"rnn {name}", {"hidden": 8, "clip": None, "data": "tiny"}, tags, data)
        event_log.metrics(10, {"val/loss": 3.0})
        event_log.metrics(20, {"val/loss": loss})
        event_log.table("samples.json", [{"temperature": 0.5, "text": "a\udcff"}])
        if status:
            event_log.end(status, reason)
        event_log.file.close()
        (folder / "config.json").write_text(json.dumps({"hidden": 8}))
        (folder / "scores.json").write_text(json.dumps({"val/loss": loss, "weights_sha256": "0"}))
        self.count += 1
        os.utime(folder / "scores.json", (self.count, self.count))
        return folder


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


def test_run_record_content(outputs: Outputs) -> None:
    folder = outputs.add("one", reason="max_epochs", job_digest="j")
    run = RunRecord.load(folder)
    assert 0 < run.start_time <= run.end_time
    expected = RunRecord(
        "one", "rnn one", "FINISHED", "max_epochs", run.start_time, run.end_time, experiment="e",
        params={"hidden": "8", "clip": "null", "data": "tiny"}, tags={"job_digest": "j"},
        data_digest="d" * 64, metrics={"val/loss": 1.5}, curves={"val/loss": [(10, 3.0), (20, 1.5)]},
        samples=[{"temperature": 0.5, "text": "a\udcff"}], config={"hidden": 8},
        scores={"val/loss": 1.5, "weights_sha256": "0"}, folder=folder,
    )  # fmt: skip
    assert run == expected
    event_log = EventLog(folder)
    event_log.resume({"sweep.s": "{}"})
    event_log.file.close()
    again = RunRecord.load(folder)
    assert (again.status, again.stop_reason, again.end_time) == ("RUNNING", "", 0)
    assert again.tags == {"job_digest": "j", "sweep.s": "{}"}


def test_finished_runs_are_ordered_by_end_time(outputs: Outputs) -> None:
    assert outputs.store.finished() == []
    for name, status in (("early", "FINISHED"), ("late", "FINISHED"), ("killed", "KILLED"), ("running", "")):
        outputs.add(name, status)
    assert [run.run_id for run in outputs.store.finished()] == ["late", "early"]
    assert outputs.store.find("latest").run_id == "late"
    assert outputs.store.find("early").run_id == "early"


def test_best_compares_runs_with_same_text(outputs: Outputs) -> None:
    """A lower loss on another text is not better."""
    outputs.add("another text", loss=0.5, digest="e" * 64)
    outputs.add("best", loss=1.0)
    outputs.add("worse", loss=1.2)
    best = outputs.store.find("best")
    assert best.run_id == "best"
    assert best.describe("best").endswith("val/loss 1.0000, the lowest on tiny (digest dddddddddddd)")
    assert outputs.store.find("best", data_digest="e" * 64).run_id == "another text"
    with pytest.raises(UserError, match=r"^run: expected a finished run on the configured text "):
        outputs.store.find("best", data_digest="f" * 64)


def test_best_in_mlflow_compares_runs_with_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of runs that did not log which text they read."""
    from src.tracking.mlflow_store import MlflowStore

    asked: list[str] = []

    def search(_: Any, where: str, *__: object) -> list[Any]:
        asked.append(where)
        return [SimpleNamespace(data=SimpleNamespace(tags={}))] if len(asked) == 1 else []

    monkeypatch.setattr(MlflowStore, "_search", search)
    with pytest.raises(UserError, match=r"^run: expected a finished run in experiment e, got none"):
        MlflowStore("http://unused", "e", tmp_path).find("best")
    assert asked[1].endswith("AND tags.data_digest = ''")


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("scores.json", b'{"val/loss": "low"', "scores.json"),
        ("scores.json", b'{"val/loss": [1]}', "val/loss"),
        ("scores.json", b"\xff", "can't decode"),
        ("scores.json", b"[" * 100_000, "too many nested brackets"),
        ("config.json", b"[]", "valid dictionary"),
        (NAME, b'{"kind": "start"}\n', "start.experiment: field required"),
        (NAME, b'{"kind": "metrics", "step": 1.5, "values": {}, "time": 1}\n', "metrics.step"),
        (NAME, b'{"kind": "closing", "more": 1}\n', "closing.more"),
        (NAME, b'{"kind": "unknown"}\n', "kind"),
    ],
)
def test_damaged_run_is_skipped_with_message(
    outputs: Outputs, file: str, text: bytes, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs.add("good")
    (outputs.add("damaged") / file).write_bytes(text)
    for query in ("latest", "best"):
        assert outputs.store.find(query).run_id == "good"
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("skipped run damaged: expected a whole ")
        assert problem in line
    with pytest.raises(UserError, match=r"^left: expected a whole .*, got a damaged one in .*damaged"):
        outputs.store.find("damaged", "left")


def test_missing_or_too_large_run_is_reported(outputs: Outputs) -> None:
    store = outputs.store
    with pytest.raises(UserError, match=r"^right: expected latest, best or the name of a run .* got nobody"):
        store.find("nobody", "right")
    with pytest.raises(UserError, match=r"^left: expected a finished run under .* got none: train one"):
        store.find("best", "left")
    folder = outputs.add("one")
    with pytest.raises(UserError, match=r"^run: expected latest, best or the name .* got \.\./runs/"):
        store.find("../runs/one")
    with pytest.raises(UserError, match=r"^rerun: expected a finished run, .* has no environment.json"):
        store.load_details(store.find("one"), "rerun")
    os.truncate(folder / "scores.json", 65 * 2**20)
    with pytest.raises(UserError, match=r"68,157,440 bytes, more than the limit of 67,108,864"):
        store.find("one")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"^resume: expected latest, a run id, .* got one$"):
        find_folder("one", outputs.runs.parent, "resume")


def test_job_is_found_by_digest(outputs: Outputs) -> None:
    outputs.add("pruned", reason="pruned", job_digest="j")
    assert outputs.store.find_job("j") is None
    outputs.add("done", job_digest="j")
    found = outputs.store.find_job("j")
    assert found is not None
    assert found.run_id == "done"
    job_info: dict[str, Any] = {"sweep": "s", "number": 2, "name": "hidden=8", "swept": {"hidden": "8"}}
    outputs.store.add_to_sweep("done", job_info)
    (row,) = outputs.store.job_results("s")
    assert (row.run_id, row.number, row.reused, row.loss) == ("done", 2, True, 1.5)


class MlflowAnswer:
    """In place of the MlflowStore: its answer to every question."""

    def find(self, query: str, *_: str) -> RunRecord:
        return RunRecord(f"{query} of MLflow")

    def finished(self) -> list[RunRecord]:
        return [RunRecord("of MLflow")]


def test_runs_of_own_database_are_found_in_directories(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_syncs: list[list[Path]]
) -> None:
    asked: list[MlflowAnswer] = []

    def ask(_: PathsConfig) -> MlflowAnswer:
        asked.append(MlflowAnswer())
        return asked[-1]

    monkeypatch.setattr(run_store, "mlflow_store", ask)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    paths = PathsConfig(str(tmp_path), "", TrackingConfig("mlflow", None, "e", None))
    own, other = (tmp_path / "artifacts").as_uri(), (tmp_path / "other").as_uri()
    for name, artifacts, run_id, loss in (
        ("best", own, "a" * 32, 1.2), ("deleted", own, "b" * 32, 1.1), ("here", own, "", 1.3),
        ("elsewhere", other, "c" * 32, 1.0), ("untracked", "", "", 0.9),
    ):  # fmt: skip
        folder = outputs.add(name, loss=loss)
        if artifacts:
            (folder / TRACKING).write_text(json.dumps({"uri": "sqlite://", "artifacts": artifacts}))
        if run_id:
            SyncState(1, run_id, "1", True).save(folder)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (run_uuid, lifecycle_stage)")
        stages = [("a" * 32, "active"), ("b" * 32, "deleted"), ("c" * 32, "active")]
        database.executemany("INSERT INTO runs VALUES (?, ?)", stages)
    store = open_store(paths)
    assert [run.run_id for run in store.finished()] == ["here", "a" * 32]  # "here" is not uploaded yet
    for query, name in (("latest", "here"), ("best", "best"), ("a" * 32, "best"), ("here", "here")):
        assert store.find(query).folder == outputs.runs / name
    best = store.find("best")
    assert best.describe("best").startswith(f"run=best: {'a' * 32}, rnn best, val/loss 1.2000, the lowest on")
    store.save_files(best, {"note.txt": lambda file: file.write_text("kept")})
    assert started_syncs == [[outputs.runs / "best"]]
    assert asked == []
    other_experiment = open_store(attrs.evolve(paths, tracking=attrs.evolve(paths.tracking, experiment="f")))
    for query in ("latest", "best"):
        assert other_experiment.find(query).run_id == f"{query} of MLflow"
    event_log = EventLog(outputs.runs / "here")
    event_log.resume()  # and still trained: MLflow has its last result
    event_log.file.close()
    for query in ("champion", "b" * 32, "deleted", "elsewhere", "untracked", "here"):
        assert store.find(query).run_id == f"{query} of MLflow"
    assert [run.run_id for run in store.finished()] == ["of MLflow"]  # with the aliases
    assert len(asked) == 2  # once per store


def test_model_and_files_of_run(outputs: Outputs) -> None:
    folder = outputs.add("one")
    architecture = RNNConfig(3, 4)
    flat = np.arange(architecture.size(), dtype=np.float32)
    model = TrainedModel(architecture, flat, Vocabulary("abc"), Normalization(False, False, False))
    serialization.save(model, folder / "model")
    run = outputs.store.find("one")
    assert outputs.store.load_model(run).params.tobytes() == flat.tobytes()
    assert outputs.store.load_config(run) == {"hidden": 8}
    outputs.store.save_files(run, {"note.txt": lambda file: file.write_text("kept")})
    assert (folder / "note.txt").read_text() == "kept"
