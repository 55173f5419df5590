"""Sweeps with hydra/launcher=...: the configs, the cores of a job, a real sweep over joblib's processes."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.cli import register
from src.help import CONF
from src.lab.learning.parallel import available_cores
from src.lab.runs.sweep import Sweep
from tests.conftest import run_command

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about its own dependencies

ELSEWHERE = ("ray", "submitit_local", "submitit_slurm")  # those that another lock brings
LAUNCHERS = sorted(file.stem for file in (CONF / "hydra" / "launcher").glob("*.yaml"))
SMALL = ("max_epochs=0.05", "eval_every=20", "length=20", "probe=false")
HIDDEN = [8, 0, 12, 8, 8, 12]  # in this order; nothing is trained with 0 units


@pytest.fixture
def hydra_ready() -> Any:
    GlobalHydra.instance().clear()
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


# --- the configs ---


def test_the_launchers_that_are_promised_are_there() -> None:
    assert {"joblib", *ELSEWHERE} <= set(LAUNCHERS)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_key_of_a_launcher_is_explained_in_the_line_above(launcher: str) -> None:
    lines = (CONF / "hydra" / "launcher" / f"{launcher}.yaml").read_text().splitlines()
    for above, line in pairwise(lines):
        if not line.strip().startswith("#"):
            assert above.strip().startswith("# "), line


@pytest.mark.parametrize(
    ("launcher", "plugin", "schema"),
    [
        ("joblib", "hydra_joblib_launcher.config", "JobLibLauncherConf"),
        ("submitit_local", "hydra_submitit_launcher.config", "LocalQueueConf"),
        ("submitit_slurm", "hydra_submitit_launcher.config", "SlurmQueueConf"),
        ("ray", "hydra_ray_launcher._config", "RayLauncherConf"),
    ],
)
def test_a_launcher_has_every_key_of_the_plugins_own_config(launcher: str, plugin: str, schema: str) -> None:
    """Ours comes first in Hydra's search path, so what it leaves out is nowhere."""
    module = pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"needs the plugin of {launcher}")
    theirs = OmegaConf.structured(getattr(module, schema))
    ours = yaml.safe_load((CONF / "hydra" / "launcher" / f"{launcher}.yaml").read_text())
    assert ours.keys() == theirs.keys()
    assert ours["_target_"] == theirs["_target_"]
    assert (
        OmegaConf.select(OmegaConf.merge(theirs, ours), "_target_") == ours["_target_"]
    )  # of the types that it wants


@pytest.mark.parametrize("launcher", ELSEWHERE)
def test_a_missing_plugin_gets_one_line(
    launcher: str, typed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src import launchers

    monkeypatch.setattr(launchers, "present", lambda module: module in ("hydra_plugins", "submitit", "ray"))
    ended = typed("train", "--multirun", f"hydra/launcher={launcher}", "hidden=8,16", f"outputs={tmp_path}/o")
    package = "hydra-ray-launcher" if launcher == "ray" else "hydra-submitit-launcher"
    assert ended.rc == 2
    assert ended.complaint == (
        f"train: hydra/launcher: expected {package} for {launcher}, got none: make cluster installs it"
    )
    assert not (tmp_path / "o").exists()  # no sweep was opened


def test_an_unknown_launcher_gets_one_line(typed: Any) -> None:
    ended = typed("train", "--multirun", "hydra/launcher=jobblib", "hidden=8,16")
    assert ended.rc == 2
    assert "hydra/launcher: expected one of" in ended.complaint
    assert ended.complaint.endswith("got jobblib")


def test_no_jobs_at_a_time_get_one_line(typed: Any, tmp_path: Path) -> None:
    asked = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "hidden=8,16", "tracking=none")
    ended = typed("train", "--multirun", *asked, f"outputs={tmp_path}")
    assert ended.rc == 2
    assert ended.complaint == (
        "train: hydra.launcher.n_jobs: expected a number of jobs, or -1 for one on each core, got 0"
    )


@pytest.mark.usefixtures("hydra_ready")
def test_a_sweep_is_told_to_jobs_that_do_not_inherit_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On another machine, or through a queue that hands no environment on."""
    from src.launchers import tell_jobs

    sweep = Sweep("id", """a ~ b, "c"=${d} 'e' [f] 50% é\\""", ["hidden", "+x"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    sweep.announce()
    config = compose("config", ["hydra/launcher=joblib"], return_hydra_config=True)
    config.hydra.job.config_name = "config"
    tell_jobs(config)
    monkeypatch.delenv("CHAR_RNN_SWEEP")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    job = hydra.config_loader.load_sweep_config(config, ["hidden=8"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", job.hydra.job.env_set.CHAR_RNN_SWEEP)
    assert Sweep.announced() == sweep


# --- the cores of a job ---


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize(
    ("overrides", "cores"),
    [
        (["joblib"], 1),
        (["joblib", "hydra.launcher.n_jobs=-2"], 1),
        (["joblib", "hydra.launcher.n_jobs=1"], 8),
        (["joblib", "hydra.launcher.n_jobs=3"], 2),
        (["joblib", "hydra.launcher.n_jobs=4"], 2),
        (["joblib", "hydra.launcher.n_jobs=64"], 1),
        (["submitit_local"], 1),
        (["submitit_slurm", "hydra.launcher.cpus_per_task=4"], 4),
        (["submitit_slurm", "hydra.launcher.cpus_per_task=null"], 8),
        (["ray"], 1),
        (["ray", "hydra.launcher.ray.remote.num_cpus=3"], 3),
        (["ray", "hydra.launcher.ray.remote.num_cpus=0.5"], 1),
        (["basic"], 8),
    ],
)
def test_a_job_may_use_its_share_of_the_cores(
    overrides: list[str], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.hydra_config import HydraConfig

    from src import train
    from src.lab.learning import parallel

    launcher, *rest = overrides
    config = compose("config", [f"hydra/launcher={launcher}", *rest], return_hydra_config=True)
    monkeypatch.setattr(parallel, "available_cores", lambda: 8)
    monkeypatch.setattr(HydraConfig, "get", lambda: config.hydra)
    assert train.cores_of_a_job() == cores


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize("cores", [1, 2])
def test_a_job_keeps_its_blas_and_its_workers_to_its_share(
    cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src.lab.runs.sweep import Job
    from src.lab.sweeps import job as sweep_job

    seen = []

    def run_on(corpus: Any, config: Any, *rest: Any) -> Any:
        seen.append((config.workers, blas()))
        return SimpleNamespace(outcome=SimpleNamespace(ended="max_epochs"))

    monkeypatch.setattr(sweep_job, "run_on", run_on)
    config: Any = OmegaConf.to_object(compose("config", ["workers=3", f"data_dir={tmp_path}"]))
    sweep_job.run_job(config, Job(Sweep("id", "name", []), 0, {}), cores)
    ((workers, threads),) = seen
    assert workers == cores
    assert threads
    assert set(threads) <= set(range(1, cores + 1))


def blas() -> list[int]:
    """Threads of each BLAS in this process."""
    from threadpoolctl import threadpool_info

    return [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]


def trained_in_a_process_of_joblib(workers: int) -> tuple[list[int], list[int], list[float]]:
    """Threads of BLAS before and within the Engine, and the gradient that it computes."""
    import numpy as np

    from src.lab.learning.parallel import Engine, Job
    from src.rnn.parameters import Architecture

    before = blas()
    engine = Engine(Job(Architecture(5, 8, "rnn", 1, "tanh"), steps=4, batch=32), workers)
    engine.weights[:] = np.random.default_rng(1).normal(size=engine.weights.size) * 0.1
    ids = np.random.default_rng(2).integers(5, size=(4, 32))
    with engine:
        within = blas()
        engine.loss_and_gradient(ids, ids)
        return before, within, engine.gradient.tolist()


@pytest.mark.slow
def test_joblibs_processes_leave_each_job_its_threads_and_the_engine_one() -> None:
    from joblib import Parallel, delayed

    kinds = [1, 2]
    out = Parallel(n_jobs=2, backend="loky")(delayed(trained_in_a_process_of_joblib)(k) for k in kinds)
    for workers, (before, within, gradient) in zip(kinds, out, strict=True):
        assert before
        assert max(before) <= max(1, available_cores() // 2)
        assert set(within) == {1}
        assert gradient == trained_in_a_process_of_joblib(workers)[2]  # and helpers can be started there


# --- a real sweep: a fresh database, four processes at once, two that do a second job, one job that fails ---


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joblib")


@pytest.fixture(scope="module")
def done(root: Path) -> Any:
    probe = root / "probe"
    probe.mkdir()
    return run_command(
        "src.train", "--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4",
        f"hidden={','.join(map(str, HIDDEN))}", *SMALL,
        f"outputs={root / 'outputs'}", f"data_dir={root / 'data'}",
        "+hydra.callbacks.probe._target_=tests.job_probe.Probe", f"+hydra.callbacks.probe.folder={probe}",
        timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def client(root: Path, done: Any) -> Any:
    from src.lab.tracking.mlflow_client import connect

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
        for file in root.glob("outputs/runs/*/delivered.json")
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
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
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
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_nothing_leaks_from_one_job_into_the_next(states: dict[int, list[dict[str, Any]]]) -> None:
    assert sum(len(told) for told in states.values()) == len(HIDDEN)
    assert len(states) == 4  # so that some process did two jobs that were trained
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
