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

from src.common.errors import UserError
from src.common.files import CONF
from src.common.process import available_cores
from src.config.resolvers import register_configs
from src.sweeps import job as sweep_job
from src.sweeps import launchers
from src.tracking.sweep import Job, Sweep
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


def compose_launcher(launcher: str, *overrides: str) -> Any:
    return compose("config", [f"hydra/launcher={launcher}", *overrides], return_hydra_config=True)


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
    merged = OmegaConf.merge(plugin_config, config)  # fails if a type does not match
    assert OmegaConf.select(merged, "_target_") == config["_target_"] == plugin_config["_target_"]


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize("launcher", CLUSTER_LAUNCHERS)
def test_missing_plugin_is_reported(launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = ("hydra_plugins", "submitit", "ray")
    monkeypatch.setattr(launchers, "find_spec", lambda module: module in installed)
    package = "hydra-ray-launcher" if launcher == "ray" else "hydra-submitit-launcher"
    message = f"hydra/launcher: expected {package} for {launcher}, got none: make cluster installs it"
    with pytest.raises(UserError, match=f"^{message}$"):
        launchers.prepare_launcher(compose_launcher(launcher))


def test_invalid_launcher_starts_no_sweep(run_cli: RunCli, tmp_path: Path) -> None:
    sweep = ("train", "--multirun", "hidden=8,16", f"output_dir={tmp_path}/o")
    unknown = run_cli(*sweep, "hydra/launcher=jobblib").error_line
    assert "hydra/launcher: expected one of" in unknown
    assert unknown.endswith("got jobblib")
    assert run_cli(*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0").error_line == (
        "train: hydra.launcher.n_jobs: expected a number of jobs, or -1 for one on each core, got 0"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("hydra_ready")
def test_sweep_is_exported_in_job_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """For jobs that do not inherit the environment."""
    sweep = Sweep("id", """a ~ b, "c"=${d} 'e' [f] 50% é\\""", ["hidden", "+x"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", "")
    sweep.export_env()
    config = compose_launcher("joblib")
    config.hydra.job.config_name = "config"
    launchers.export_sweep_env(config)
    monkeypatch.delenv("CHAR_RNN_SWEEP")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    job = hydra.config_loader.load_sweep_config(config, ["hidden=8"])
    monkeypatch.setenv("CHAR_RNN_SWEEP", job.hydra.job.env_set.CHAR_RNN_SWEEP)
    assert Sweep.from_env() == sweep


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize(
    ("launcher", "override", "cores"),
    [
        ("joblib", "", 1), ("joblib", "n_jobs=-2", 1), ("joblib", "n_jobs=1", 8), ("joblib", "n_jobs=3", 2),
        ("joblib", "n_jobs=4", 2), ("joblib", "n_jobs=64", 1),
        ("submitit_local", "", 1), ("submitit_slurm", "cpus_per_task=4", 4),
        ("submitit_slurm", "cpus_per_task=null", 8),
        ("ray", "", 1), ("ray", "ray.remote.num_cpus=3", 3), ("ray", "ray.remote.num_cpus=0.5", 1),
        ("basic", "", 8),
    ],
)  # fmt: skip
def test_cores_per_job(launcher: str, override: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_launcher(launcher, *([f"hydra.launcher.{override}"] if override else []))
    monkeypatch.setattr("src.common.process.available_cores", lambda: 8)
    assert launchers.cores_per_job(config.hydra.launcher) == cores


@pytest.mark.usefixtures("hydra_ready")
@pytest.mark.parametrize("cores", [1, 2])
def test_workers_are_limited_by_cores(cores: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker_counts = []

    def run(config: Any, *rest: Any) -> Any:
        worker_counts.append(config.workers)
        training = SimpleNamespace(stop_reason="max_epochs", val_loss=2.0, chars_per_second=1.0)
        return SimpleNamespace(training=training, summary=lambda: "")

    monkeypatch.setattr(sweep_job, "run", run)
    config: Any = OmegaConf.to_object(compose("config", ["workers=3", f"data_dir={tmp_path}"]))
    sweep_job.run_job(config, Job(Sweep("id", "name", []), 0, {}, cores))
    assert worker_counts == [cores]


def train_in_joblib_process(workers: int) -> tuple[list[int], list[int], list[float]]:
    """Return the threads of each BLAS library before and within the DataParallel, and its gradient."""
    import numpy as np
    from threadpoolctl import threadpool_info

    from src.rnn.parameters import RNNConfig
    from src.training.data_parallel import DataParallel
    from src.training.shard import ShardSpec

    def blas_threads() -> list[int]:
        return [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]

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
