"""Sweeps: parent and child runs, failures, reuse, interruption, and the final table."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from src.common.job_result import JobResult, best_of, best_of_texts
from src.sweeps import job as sweep_job
from src.sweeps.html_report import rank_results, render_page
from src.sweeps.summary import print_table, register_best
from src.tracking.sweep import Job, Sweep
from tests.commands import CommandResult, RunCli
from tests.compose import composed
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect
from tests.sweep_runs import SHORT, NewDatabase, assert_synced, path_overrides_of, sweep_runs

pytestmark = ignore_mlflow_warnings


def test_job_name_lists_swept_keys() -> None:
    overrides = {"seed": "1", "clip": "5", "hidden": "64"}
    assert Job(Sweep("parent", "sweep", ["hidden", "clip"]), 3, overrides).name == "hidden=64 clip=5"
    assert Job(Sweep("parent", "sweep", []), 3, overrides).name == "job 3"
    assert Job(Sweep("parent", "sweep", ["clip"]), 3, overrides).run_name == "clip=5 seed=1 hidden=64"


def test_sweep_is_passed_through_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    assert Sweep.from_env() is None
    sweep = Sweep("id", "name", ["hidden"])
    sweep.export_env()
    assert Sweep.from_env() == sweep


def test_best_result_has_lowest_val_loss() -> None:
    results = [("FINISHED", 2.0), ("FINISHED", 1.5), ("FAILED", 1.0), ("FINISHED", None)]
    rows = [
        JobResult("job", 0, {}, "id", status, metrics={} if loss is None else {"val/loss": loss})
        for status, loss in results
    ]
    assert best_of(rows) is rows[1]
    assert best_of(rows[2:]) is None
    assert best_of([]) is None


def test_best_job_is_of_one_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses of different texts are not compared: each text has its best job, and none is registered."""
    texts, losses = ("a", "b", "a", "b"), (1.5, 3.0, 1.4, 2.0)
    rows = [
        JobResult(
            f"job {k}",
            k,
            {},
            f"id{k}",
            "FINISHED",
            text=text,
            data_digest=text * 9,
            metrics={"val/loss": loss},
        )
        for k, (text, loss) in enumerate(zip(texts, losses, strict=True))
    ]
    assert best_of(rows) is None
    assert best_of_texts(rows) == [rows[2], rows[3]]
    ranked = rank_results(rows[::-1])
    assert ranked == [rows[2], rows[0], rows[3], rows[1]]
    print_table(Sweep("s", "s", []), ranked)
    table, *best = capsys.readouterr().out.rsplit("\n", 3)[:3]
    assert table.count("best") == 2
    assert best == ["best on a: job 2 val/loss=1.4000 run=id2", "best on b: job 3 val/loss=2.0000 run=id3"]
    assert " Best on a: job 2, val/loss 1.4000" in (page := render_page("s", rows))
    assert page.count('<tr class="best">') == 2
    register_best(rows, composed("config"), "FINISHED")
    assert capsys.readouterr().err.startswith("not registered: the jobs have different texts")


@pytest.mark.parametrize(
    ("overrides", "params", "keys"),
    [
        (["hidden=64,128", "seed=1", "clip=1,5"], {}, ["hidden", "clip"]),
        (["hidden=64", "seed=range(3)"], {"lr": "interval(1,2)"}, ["seed", "lr"]),
        (["model=rnn,lstm", "+x=choice(1,2)"], {}, ["model", "+x"]),
        (["prompt='a,b'"], {}, []),
        (["hidden=8", "hidden=8,16", "clip=1,5", "clip=1"], {}, ["hidden"]),
    ],
)
def test_swept_keys_have_several_values(
    overrides: list[str], params: dict[str, str], keys: list[str]
) -> None:
    from src.sweeps.hydra_callback import swept_overrides

    assert list(swept_overrides(overrides, params)) == keys


HIDDEN = [8, 0, 12, 8, 12]  # in the order of the jobs; hidden=0 fails
PROCESSES = 2


@dataclass(frozen=True)
class Swept:
    """A tracked sweep over HIDDEN in joblib processes, which share a database."""

    root: Path
    uri: str
    result: CommandResult
    parent: Any
    children: list[Any]

    @property
    def finished(self) -> list[Any]:
        """The finished child runs, best first."""
        finished = [child for child in self.children if child.info.status == "FINISHED"]
        return sorted(finished, key=lambda child: child.data.metrics["val/loss"])


@pytest.fixture(scope="module")
def swept(command: RunCli, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Swept:
    root = tmp_path_factory.mktemp("sweep")
    (root / "states").mkdir()
    uri = new_database(root / "outputs")
    callback = {
        "_target_": "tests.job_state_callback.JobStateCallback",
        "folder": root / "states",
        "num_processes": PROCESSES,
    }
    result = command(
        "src.train", "--multirun", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={PROCESSES}",
        f"hidden={','.join(map(str, HIDDEN))}", *SHORT, *path_overrides_of(root),
        *(f"+hydra.callbacks.state.{key}={value}" for key, value in callback.items()),
    )  # fmt: skip
    return Swept(root, uri, result, *sweep_runs(uri))


def job_name(run: Any) -> str:
    """Return the swept overrides, with which the name of a job's run begins."""
    return str(run.info.run_name.partition(" ")[0])


@pytest.mark.slow
def test_jobs_are_child_runs(swept: Swept) -> None:
    rows = [(child.info.run_name, child.data.params["hidden"], child.info.status) for child in swept.children]
    fixed = "max_epochs=0.02 eval_every=10 length=20 workers=1 diagnostics=false"
    assert rows == [(f"hidden={h} {fixed}", str(h), "FINISHED" if h else "FAILED") for h in HIDDEN]
    assert swept.parent.info.run_name == f"hidden=8,0,12,8,12 {fixed}"
    assert "expected an integer >= 1, got 0" in swept.children[1].data.tags["stop_reason"]


@pytest.mark.slow
def test_failed_job_sets_exit_status_of_sweep(swept: Swept) -> None:
    assert swept.result.rc == 1
    for start in ("train: ", "FAILED "):
        assert f"{start}hidden=0: hidden: expected an integer >= 1, got 0" in swept.result.err
    output = swept.result.out + swept.result.err
    assert not re.search(r"Traceback|Warning|Joblib|loky|\[Parallel", output), output
    assert sys.prefix not in output


@pytest.mark.slow
def test_parent_run_has_best_job_and_report(swept: Swept) -> None:
    best, parent = swept.finished[0], swept.parent
    loss = best.data.metrics["val/loss"]
    assert parent.info.status == "FAILED"
    assert parent.data.tags["sweep.best"] == job_name(best)
    assert parent.data.tags["sweep.keys"] == '["hidden"]'
    best_run = parent.data.tags["sweep.best_run"]
    assert best_run in [run.info.run_id for run in swept.finished if run.data.metrics["val/loss"] == loss]
    scores = {name: best.data.metrics[name] for name in ("val/loss", "test/bpc")}
    assert parent.data.metrics.items() >= {"sweep/jobs": 5, "sweep/failed": 1, **scores}.items()
    files = connect(swept.uri).list_artifacts(parent.info.run_id)
    assert "comparison.html" in [file.path for file in files]
    assert f"best: {job_name(best)} val/loss={loss:.4f} run={best_run}" in swept.result.out


@pytest.mark.slow
def test_table_lists_jobs_best_first(swept: Swept) -> None:
    lines = re.findall(r".*[0-9a-f]{32}.*\u2502.*", swept.result.out)
    rows = {child.info.run_id: child for child in swept.children}
    order = [rows.pop(next(run_id for run_id in rows if run_id in line)) for line in lines]
    assert not rows
    assert "best" in lines[0]
    assert order[-1] == swept.children[1], "the failed job is last"
    for line, child, ranked in zip(lines, order, [*swept.finished, order[-1]], strict=True):
        assert child.info.status in line
        assert child.data.metrics.get("val/loss") == ranked.data.metrics.get("val/loss")
        for name in ("val/loss", "test/bpc"):
            if name in child.data.metrics:
                assert f"{child.data.metrics[name]:.4f}" in line


@pytest.mark.slow
def test_every_point_of_every_job_is_synced(swept: Swept) -> None:
    for child in swept.finished:
        assert_synced(swept.root / "outputs" / "runs" / child.data.tags["run_dir"], swept.uri)


@pytest.mark.slow
def test_job_state_does_not_leak(swept: Swept) -> None:
    """The state of each process before each of its jobs."""
    by_process: dict[int, list[dict[str, Any]]] = {}
    for file in sorted((swept.root / "states").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        state = json.loads(file.read_text())
        by_process.setdefault(state["pid"], []).append(state)
    assert sum(map(len, by_process.values())) == len(HIDDEN)
    assert len(by_process) == PROCESSES
    for first, *others in by_process.values():
        assert (first["mlflow_imported"], first["children"], first["files"]) == (False, [], [])
        for later in others:
            assert later | {"job": first["job"]} == first


@pytest.mark.slow
def test_job_result_does_not_depend_on_previous_job(swept: Swept) -> None:
    results = {(job_name(child), child.data.metrics["test/loss"]) for child in swept.finished}
    assert sorted(name for name, _ in results) == ["hidden=12", "hidden=8"]


@pytest.mark.slow
def test_skip_finished_reuses_finished_runs(swept: Swept, command: RunCli) -> None:
    overrides = ("hidden=8,16", "skip_finished=true", *SHORT, *path_overrides_of(swept.root))
    again = command("src.train", "--multirun", *overrides).check()
    (run_id,) = re.findall(r"hidden=8 \| reused run (\w+)", again.err)
    assert run_id in [child.info.run_id for child in swept.finished if job_name(child) == "hidden=8"]
    parent, children = sweep_runs(swept.uri)
    assert [job_name(run) for run in children] == ["hidden=16"]
    assert parent.data.metrics["sweep/jobs"] == 2
    assert again.out.count("reused") == 1


@pytest.mark.slow
def test_untracked_sweep_has_table(command: RunCli, tmp_path: Path) -> None:
    arguments = ("hidden=8,0", "tracking=none", *SHORT, *path_overrides_of(tmp_path))
    result = command("src.train", "--multirun", *arguments)
    assert result.rc == 1
    assert "best: hidden=8 val/loss=" in result.out
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in result.err
    (page,) = tmp_path.glob("outputs/sweeps/*/comparison.html")
    assert "hidden=8" in page.read_text(encoding="utf-8")
    again = command("src.train", "--multirun", *arguments, "skip_finished=true")
    assert "hidden=8 | reused run" in again.err
    assert not (tmp_path / "outputs" / "mlflow.db").exists()


@pytest.mark.slow
def test_ctrl_c_ends_job_and_sweep(tmp_path: Path, command: RunCli, new_database: NewDatabase) -> None:
    uri = new_database(tmp_path / "outputs")
    arguments = ("--multirun", "hidden=8,12", *SHORT, *path_overrides_of(tmp_path))
    result = command("tests.fault_injection", "Ctrl-C", "15", *arguments)
    assert result.rc == 130, result.err
    again = (
        r"^train: interrupted; resume with: python -m src.train --multirun hidden=8,12 .* skip_finished=true$"
    )
    assert re.search(again, result.err, re.M)
    parent, (child,) = sweep_runs(uri)
    assert parent.info.status == "KILLED"
    assert (child.info.status, child.data.tags["stop_reason"]) == ("FINISHED", "interrupted")
    assert "test/bpc" in child.data.metrics
    assert len(child.outputs.model_outputs) == 1


@pytest.mark.slow
def test_exception_in_job_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    def fail(config: Any, job: Any) -> float:
        if config.hidden == 8:
            raise ZeroDivisionError("a bug")
        return 1.0

    monkeypatch.setattr(sweep_job, "run_job", fail)
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    arguments = ("hidden=8,16", "tracking=none", *path_overrides_of(tmp_path))
    assert run_cli("train", "--multirun", *arguments).rc == 1
    (sweep_file,) = tmp_path.glob("outputs/runs/*/sweep.json")
    assert json.loads(sweep_file.read_text())["name"] == "hidden=8"
    end_event = json.loads(sweep_file.with_name("events.jsonl").read_text().splitlines()[-1])
    assert end_event["status"] == "FAILED"
    assert "ZeroDivisionError: a bug" in end_event["reason"]
