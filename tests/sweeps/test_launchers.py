"""Launcher configs, the sweep that a job receives, and the cores of a job."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from src.common.files import CONF
from src.common.process import available_cores
from src.config.resolvers import register_configs
from src.tracking.sweep import Sweep
from tests.commands import RunCli
from tests.conftest import ignore_mlflow_warnings

pytestmark = ignore_mlflow_warnings

CLUSTER_LAUNCHERS = ("ray", "submitit_local", "submitit_slurm")  # launchers of requirements-cluster.lock
LAUNCHERS = sorted(file.stem for file in (CONF / "hydra" / "launcher").glob("*.yaml"))


@pytest.fixture
def hydra_ready() -> Any:
    GlobalHydra.instance().clear()
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_launchers_exist() -> None:
    assert {"joblib", *CLUSTER_LAUNCHERS} <= set(LAUNCHERS)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launcher_keys_have_comments(launcher: str) -> None:
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
def test_launcher_has_all_plugin_keys(launcher: str, plugin: str, schema: str) -> None:
    """Our config replaces the plugin's, so a missing key has no default."""
    module = pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"needs the plugin of {launcher}")
    plugin_config = OmegaConf.structured(getattr(module, schema))
    config = yaml.safe_load((CONF / "hydra" / "launcher" / f"{launcher}.yaml").read_text())
    assert config.keys() == plugin_config.keys()
    assert config["_target_"] == plugin_config["_target_"]
    assert (
        OmegaConf.select(OmegaConf.merge(plugin_config, config), "_target_") == config["_target_"]
    )  # types match


@pytest.mark.parametrize("launcher", CLUSTER_LAUNCHERS)
def test_missing_plugin_is_reported(
    launcher: str, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from src.sweeps import launchers

    monkeypatch.setattr(launchers, "find_spec", lambda module: module in ("hydra_plugins", "submitit", "ray"))
    result = run_cli(
        "train", "--multirun", f"hydra/launcher={launcher}", "hidden=8,16", f"output_dir={tmp_path}/o"
    )
    package = "hydra-ray-launcher" if launcher == "ray" else "hydra-submitit-launcher"
    assert result.error_line == (
        f"train: hydra/launcher: expected {package} for {launcher}, got none: make cluster installs it"
    )
    assert not (tmp_path / "o").exists()  # no sweep was started


def test_unknown_launcher_is_rejected(run_cli: RunCli) -> None:
    result = run_cli("train", "--multirun", "hydra/launcher=jobblib", "hidden=8,16")
    assert "hydra/launcher: expected one of" in result.error_line
    assert result.error_line.endswith("got jobblib")


def test_zero_n_jobs_is_rejected(run_cli: RunCli, tmp_path: Path) -> None:
    overrides = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "hidden=8,16", "tracking=none")
    result = run_cli("train", "--multirun", *overrides, f"output_dir={tmp_path}")
    assert result.error_line == (
        "train: hydra.launcher.n_jobs: expected a number of jobs, or -1 for one on each core, got 0"
    )


@pytest.mark.usefixtures("hydra_ready")
def test_sweep_is_exported_in_job_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """For jobs that do not inherit the environment."""
    from src.sweeps.launchers import export_sweep_env

    sweep = Sweep("id", """a ~ b, "c"=${d} 'e' [f] 50% é\\""", ["hidden", "+x"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    sweep.export_env()
    config = compose("config", ["hydra/launcher=joblib"], return_hydra_config=True)
    config.hydra.job.config_name = "config"
    export_sweep_env(config)
    monkeypatch.delenv("CHAR_RNN_SWEEP")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    job = hydra.config_loader.load_sweep_config(config, ["hidden=8"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", job.hydra.job.env_set.CHAR_RNN_SWEEP)
    assert Sweep.from_env() == sweep


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
def test_cores_per_job(overrides: list[str], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from src.common import process
    from src.sweeps.launchers import cores_per_job

    launcher, *rest = overrides
    config = compose("config", [f"hydra/launcher={launcher}", *rest], return_hydra_config=True)
    monkeypatch.setattr(process, "available_cores", lambda: 8)
    assert cores_per_job(config.hydra.launcher) == cores


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize("cores", [1, 2])
def test_workers_are_limited_by_cores(cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from src.sweeps import job as sweep_job
    from src.tracking.sweep import Job

    worker_counts = []

    def run(config: Any, *rest: Any) -> Any:
        worker_counts.append(config.workers)
        training = SimpleNamespace(stop_reason="max_epochs", val_loss=2.0, chars_per_second=1.0)
        return SimpleNamespace(training=training, summary=lambda: "")

    monkeypatch.setattr(sweep_job, "run", run)
    config: Any = OmegaConf.to_object(compose("config", ["workers=3", f"data_dir={tmp_path}"]))
    sweep_job.run_job(config, Job(Sweep("id", "name", []), 0, {}, cores))
    assert worker_counts == [cores]


def blas_threads() -> list[int]:
    """Return the threads of each BLAS library in this process."""
    from threadpoolctl import threadpool_info

    return [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]


def train_in_joblib_process(workers: int) -> tuple[list[int], list[int], list[float]]:
    """Return the BLAS threads before and within the DataParallel, and its gradient."""
    import numpy as np

    from src.rnn.parameters import RNNConfig
    from src.training.data_parallel import DataParallel
    from src.training.shard import ShardSpec

    before = blas_threads()
    engine = DataParallel(ShardSpec(RNNConfig(5, 8, "rnn", 1, "tanh"), steps=4, batch=32), workers)
    engine.params[:] = np.random.default_rng(1).normal(size=engine.params.size) * 0.1
    ids = np.random.default_rng(2).integers(5, size=(4, 32))
    with engine:
        inside = blas_threads()
        engine.loss_and_gradient(ids, ids)
        return before, inside, engine.gradient.tolist()


@pytest.mark.slow
def test_blas_threads_in_joblib_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib import Parallel, delayed

    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)  # joblib keeps a value of the user
    counts = [1, 2]
    out = Parallel(n_jobs=2, backend="loky")(delayed(train_in_joblib_process)(k) for k in counts)
    for workers, (before, inside, gradient) in zip(counts, out, strict=True):
        assert before
        assert max(before) <= max(1, available_cores() // 2)
        assert set(inside) == {1}
        assert gradient == train_in_joblib_process(workers)[2]  # workers can start there
