"""A sweep over joblib's processes: four at once in a fresh database, two do a second job, one job fails."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import TIME_LIMIT
from tests.conftest import run_command

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies

SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "diagnostics=false", "figures=false")
PROCESSES = 4
HIDDEN = [8, 0, 12, 8, 8, 12]  # in this order; nothing is trained with 0 units


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joblib")


@pytest.fixture(scope="module")
def done(root: Path) -> Any:
    probe = root / "probe"
    probe.mkdir()
    return run_command(
        "src.train", "--multirun", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={PROCESSES}",
        f"hidden={','.join(map(str, HIDDEN))}", *SMALL,
        f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}",
        "+hydra.callbacks.probe._target_=tests.job_probe.Probe", f"+hydra.callbacks.probe.folder={probe}",
        f"+hydra.callbacks.probe.together={PROCESSES}",
        timeout=TIME_LIMIT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(root: Path, done: Any) -> Any:
    from src.tracking.mlflow_client import connect

    return connect(f"sqlite:///{root / 'outputs' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("char-rnn").experiment_id
    return list(client.search_runs([experiment]))


@pytest.fixture(scope="module")
def parent(runs: list[Any]) -> Any:
    (found,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    return found


@pytest.fixture(scope="module")
def children(runs: list[Any], parent: Any) -> list[Any]:
    """In the order of their numbers."""
    key = f"sweep.{parent.info.run_id}"
    found = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return sorted(found, key=lambda run: json.loads(run.data.tags[key])["number"])


@pytest.mark.slow
def test_a_sweep_over_processes_ends_as_one_that_is_not(done: Any, parent: Any) -> None:
    assert done.rc == 1  # one job failed
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in done.err
    assert parent.data.metrics["sweep/jobs"] == len(HIDDEN)
    assert parent.data.metrics["sweep/failed"] == 1


@pytest.mark.slow
def test_every_job_is_a_child_whatever_happened_to_the_others(children: list[Any]) -> None:
    """Four processes open a fresh database: it was made before they began."""
    assert [child.data.params["hidden"] for child in children] == [str(h) for h in HIDDEN]
    assert [child.info.status for child in children] == ["FINISHED" if h else "FAILED" for h in HIDDEN]


@pytest.mark.slow
def test_every_point_of_every_job_arrives(root: Path, client: Any, children: list[Any]) -> None:
    told = {
        json.loads(file.read_text())["run_id"]: points_of(file.parent)
        for file in root.glob("outputs/runs/*/sync_state.json")
    }
    assert told.keys() == {child.info.run_id for child in children}
    for child in children:
        names = sorted({name for name, *_ in told[child.info.run_id]})
        there = [
            (name, m.step, m.value)
            for name in names
            for m in client.get_metric_history(child.info.run_id, name)
        ]
        assert sorted(there) == sorted(told[child.info.run_id])
        assert bool(there) == (child.info.status == "FINISHED")


def points_of(folder: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    metrics = [record for record in records if record["kind"] == "metrics"]
    return [(name, r["step"], value) for r in metrics for name, value in r["values"].items()]


@pytest.fixture(scope="module")
def states(root: Path, done: Any) -> dict[int, list[dict[str, Any]]]:
    """By process: its state in front of each of its jobs."""
    by_process: dict[int, list[dict[str, Any]]] = {}
    for file in sorted((root / "probe").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        told = json.loads(file.read_text())
        by_process.setdefault(told["pid"], []).append(told)
    return by_process


@pytest.mark.slow
def test_nothing_leaks_from_one_job_into_the_next(states: dict[int, list[dict[str, Any]]]) -> None:
    assert sum(len(told) for told in states.values()) == len(HIDDEN)
    assert len(states) == PROCESSES  # so that some process did two jobs that were trained
    for first, *others in states.values():
        assert first["mlflow_imported"] is False
        assert first["children"] == []
        assert first["files"] == []
        for later in others:
            for name in first.keys() - {"job"}:
                assert later[name] == first[name], f"{name} in front of job {later['job']}"


@pytest.mark.slow
def test_the_same_config_gives_the_same_bits_whichever_job_a_process_did_before(
    root: Path, done: Any, children: list[Any]
) -> None:
    digests: dict[str, set[str]] = {}
    for file in root.glob("outputs/runs/*/scores.json"):
        hidden = str(json.loads((file.parent / "config.json").read_text())["hidden"])
        digests.setdefault(hidden, set()).add(json.loads(file.read_text())["weights_sha256"])
    assert digests.keys() == {"8", "12"}
    assert [len(found) for found in digests.values()] == [1, 1]


@pytest.mark.slow
def test_the_launchers_own_chatter_is_not_on_the_screen(done: Any) -> None:
    said = done.out + done.err
    assert "Joblib" not in said
    assert "loky" not in said
    assert not re.search(r"\[Parallel", said)
    assert str(sys.prefix) not in said
