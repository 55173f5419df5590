"""Sweeps by submitit and Ray, and jobs that share only an MLflow server.

`make test-cluster` installs the requirements; without them the tests are skipped.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.commands import PROJECT, TIME_LIMIT, CommandResult, environ, free_port, run_command, run_process
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=40", "figures=false")
LIBRARY_OUTPUT = re.compile(r"Traceback|Warning|submitit|INFO|WARNING|\bray\b", re.IGNORECASE)
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def requires(plugin: str, library: str) -> pytest.MarkDecorator:
    downloaded = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{plugin}") and find_spec(library)
    return pytest.mark.skipif(
        not downloaded, reason=f"needs {plugin} and {library}: make test-cluster installs them"
    )


def assert_sweep(process: CommandResult, outputs: Path) -> None:
    """The sweep hidden=8,0,12 has a parent, two finished jobs and a failed one, and no library output."""
    assert process.rc == 1, process.err
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in process.err
    lines = [line for line in (process.out + process.err).splitlines() if str(outputs) not in line]
    assert not [line for line in lines if LIBRARY_OUTPUT.search(line)]
    client = connect(f"sqlite:///{outputs / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("char-rnn").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    children = {run.info.run_name: run for run in runs if run.info.run_id != parent.info.run_id}
    assert {child.data.tags["mlflow.parentRunId"] for child in children.values()} == {parent.info.run_id}
    statuses = {name: child.info.status for name, child in children.items()}
    assert statuses == {"hidden=8": "FINISHED", "hidden=0": "FAILED", "hidden=12": "FINISHED"}
    assert parent.data.metrics["sweep/jobs"] == 3
    for name in ("hidden=8", "hidden=12"):
        assert children[name].data.params["workers"] == "1"  # number of cores per job
        history = client.get_metric_history(children[name].info.run_id, "val/loss")
        assert [point.step for point in history] == [20, 40, 60, 61]


def sweep(root: Path, *arguments: str) -> CommandResult:
    dirs = (f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}")
    return run_command("src.train", "--multirun", "hidden=8,0,12", *arguments, *SMALL, *dirs)


@requires("hydra_submitit_launcher", "submitit")
def test_submitit_sweep(tmp_path: Path) -> None:
    process = sweep(tmp_path, "hydra/launcher=submitit_local")
    assert_sweep(process, tmp_path / "outputs")
    assert len(list(tmp_path.glob("outputs/sweeps/*/.submitit/*/*_result.pkl"))) == 3


@requires("hydra_ray_launcher", "ray")
def test_ray_sweep(tmp_path: Path) -> None:
    process = sweep(tmp_path, "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")
    assert_sweep(process, tmp_path / "outputs")


@contextmanager
def server(root: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Run `python -m src.server` and yield its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "src.server", f"port={port}", f"output_dir={root}", *arguments],
        cwd=PROJECT, env=environ(**environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        address = f"http://127.0.0.1:{port}"
        assert lines[0].startswith(f"open {address}  (Ctrl-C stops the server"), lines
        assert lines[1] == f"on every machine: python -m src.train tracking.uri={address} ...\n"
        yield address
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIME_LIMIT)
        assert (process.returncode, out, err) == (0, "", "")
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", port)) != 0  # the port is free again
    finally:
        process.terminate()
        process.wait(60)


@dataclass(frozen=True)
class SweepDirs:
    """Directories of the server, the launching process and the jobs."""

    server: Path
    launcher: Path
    jobs: Path


@pytest.fixture
def dirs(tmp_path: Path) -> SweepDirs:
    directories = SweepDirs(tmp_path / "server", tmp_path / "launcher", tmp_path / "jobs")
    directories.launcher.mkdir()
    return directories


def run_distributed_sweep(dirs: SweepDirs, address: str) -> CommandResult:
    """Run two parallel jobs, each with its own working directory, outputs and data."""
    return run_process(
        [
            sys.executable,
            "-m",
            "src.train",
            "--multirun",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
            "hidden=8,12",
            *SMALL,
            "output_dir=outputs",
            "data_dir=data",
            f"tracking.uri={address}",
            "hydra.job.chdir=true",
            f"hydra.sweep.dir={dirs.jobs}",
        ],
        cwd=dirs.launcher,
        env=environ(PYTHONPATH=str(PROJECT)),
    )


def assert_distributed_sweep(dirs: SweepDirs, address: str, process: CommandResult) -> None:
    """The server has all data of both jobs, and the parent run has the result."""
    import mlflow

    assert process.rc == 0, process.err
    folders = [next(dirs.jobs.glob(f"{number}/outputs/runs/*")) for number in (0, 1)]
    assert all(any(dirs.jobs.glob(f"{number}/data/*/tokens.npy")) for number in (0, 1))
    assert not list(dirs.launcher.glob("outputs/runs/*"))  # the launching process has no files of jobs
    assert not (dirs.launcher / "data").exists()
    run_ids = [json.loads((folder / "sync_state.json").read_text())["run_id"] for folder in folders]
    # From here the job directories are only compared.
    client = connect(address)
    runs = client.search_runs([client.get_experiment_by_name("char-rnn").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["stage"] == "sweep"]
    assert {run.info.run_id for run in runs} == {parent.info.run_id, *run_ids}
    for folder, run_id in zip(folders, run_ids, strict=True):
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
        assert_points(client, folder, run_id)
        downloaded = Path(
            mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(dirs.server / run_id))
        )
        for file in [*folder.glob("samples/*.txt"), *folder.glob("figures/*.png"), folder / "config.json"]:
            assert (downloaded / file.relative_to(folder)).read_bytes() == file.read_bytes()
        model = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model"))
        assert digest(model / "data" / "model") == digest(folder / "model") != set()
        table = json.loads((downloaded / "samples.json").read_text())
        assert len(table["data"]) == 3
    page = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/comparison.html")
    assert all(run_id in page for run_id in run_ids)
    assert parent.data.tags["sweep.best_run"] in run_ids
    assert parent.data.metrics["sweep/jobs"] == 2


def assert_points(client: Any, folder: Path, run_id: str) -> None:
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    metrics = [record for record in records if record["kind"] == "metrics"]
    logged = [(name, r["step"], value) for r in metrics for name, value in r["values"].items()]
    names = {name for name, *_ in logged}
    downloaded = [(name, m.step, m.value) for name in names for m in client.get_metric_history(run_id, name)]
    assert sorted(downloaded) == sorted(logged)
    assert {"train/loss", "val/loss", "test/bpc"} <= names


def digest(folder: Path) -> set[tuple[str, str]]:
    return {(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in folder.iterdir()}


def test_distributed_sweep_over_mlflow_server(dirs: SweepDirs) -> None:
    with server(dirs.server) as address:
        assert_distributed_sweep(dirs, address, run_distributed_sweep(dirs, address))
    assert (dirs.server / "server.db").exists()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server on the loopback, as user nobody if this process is root; yield its URL."""
    folder.mkdir()
    port, binaries, as_user = free_port(), POSTGRES[-1].parent, list[str]()
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "nobody")
        for above in folder.parents:
            if above.stat().st_uid == 0 and above.is_relative_to(folder.parents[2]):
                above.chmod(above.stat().st_mode | 0o111)  # pytest's directories belong to root
        as_user = ["runuser", "-u", "nobody", "--"]

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*as_user, str(binaries / program), *arguments], cwd=folder, check=True, timeout=TIME_LIMIT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    data = str(folder / "db")
    run("initdb", "-D", data, "-U", "lab", "--auth=trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://lab@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.mark.skipif(not POSTGRES, reason="needs Debian's package postgresql")
@pytest.mark.skipif(not find_spec("psycopg"), reason="needs psycopg: make test-cluster installs it")
@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("runuser"), reason="PostgreSQL refuses root")
def test_distributed_sweep_over_postgresql(dirs: SweepDirs) -> None:
    with postgres(dirs.server.parent / "postgres") as url:
        with server(dirs.server, f"backend_store_uri={url}") as address:
            assert_distributed_sweep(dirs, address, run_distributed_sweep(dirs, address))
        assert not (dirs.server / "server.db").exists()


def test_invalid_server_options_are_rejected(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for override, line in [
            (f"port={port}", f"port: expected a free port, got {port}, which is already in use"),
            ("host=192.0.2.1", "host: expected an address of this machine, got 192.0.2.1 ("),
            (
                "backend_store_uri=nonsense",
                "backend_store_uri: expected a database's URL such as postgresql://",
            ),
            (
                "backend_store_uri=oracle://u:secret@h/n",
                "backend_store_uri: expected a database whose driver is installed, got ",
            ),
        ]:
            rest = [] if override.startswith("port") else [f"port={free_port()}"]
            statuses = run_command("src.server", override, *rest, f"output_dir={tmp_path}")
            assert statuses.error_line.startswith(f"server: {line}")
            assert "secret" not in statuses.err


def test_failed_server_start_names_log(tmp_path: Path) -> None:
    (tmp_path / "server.db").write_text("no database")
    statuses = run_command("src.server", f"port={free_port()}", f"output_dir={tmp_path}")
    log = tmp_path / "server.log"
    assert statuses.error_line == f"server: expected a running MLflow server, got one that exited: see {log}"
    assert "database" in log.read_text()
