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
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import TIME_LIMIT, RunCli, free_port, run_command
from tests.conftest import ignore_mlflow_warnings
from tests.mlflow_queries import connect
from tests.processes import start
from tests.sweep_runs import assert_synced, path_overrides_of, sweep_runs

pytestmark = [pytest.mark.slow, ignore_mlflow_warnings]

SMALL = ("max_epochs=0.05", "eval_every=20", "length=40", "figures=false")
LIBRARY_OUTPUT = re.compile(r"Traceback|Warning|submitit|INFO|WARNING|\bray\b", re.IGNORECASE)
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def requires(plugin: str, library: str) -> pytest.MarkDecorator:
    downloaded = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.{plugin}") and find_spec(library)
    return pytest.mark.skipif(
        not downloaded, reason=f"needs {plugin} and {library}: make test-cluster installs them"
    )


def run_and_check_sweep(root: Path, *arguments: str) -> None:
    """The sweep hidden=8,0,12 has a parent, two finished jobs and a failed one, and no library output."""
    outputs = root / "outputs"
    uri = f"sqlite:///{outputs / 'mlflow.db'}"
    overrides = ("hidden=8,0,12", *arguments, *SMALL, *path_overrides_of(root))
    process = run_command("src.train", "--multirun", *overrides)
    assert process.rc == 1, process.err
    assert "FAILED hidden=0: hidden: expected an integer >= 1, got 0" in process.err
    lines = [line for line in (process.out + process.err).splitlines() if str(outputs) not in line]
    assert not [line for line in lines if LIBRARY_OUTPUT.search(line)]
    parent, children = sweep_runs(uri)
    statuses = [(child.info.run_name, child.info.status) for child in children]
    assert statuses == [("hidden=8", "FINISHED"), ("hidden=0", "FAILED"), ("hidden=12", "FINISHED")]
    assert parent.data.metrics["sweep/jobs"] == 3
    client = connect(uri)
    for child in (children[0], children[2]):
        assert child.data.params["workers"] == "1"  # number of cores per job
        history = client.get_metric_history(child.info.run_id, "val/loss")
        assert [point.step for point in history] == [20, 40, 60, 61]


@requires("hydra_submitit_launcher", "submitit")
def test_submitit_sweep(tmp_path: Path) -> None:
    run_and_check_sweep(tmp_path, "hydra/launcher=submitit_local")
    assert len(list(tmp_path.glob("outputs/sweeps/*/.submitit/*/*_result.pkl"))) == 3


@requires("hydra_ray_launcher", "ray")
def test_ray_sweep(tmp_path: Path) -> None:
    run_and_check_sweep(tmp_path, "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")


@contextmanager
def server(root: Path, *arguments: str) -> Iterator[str]:
    """Run `python -m src.server` and yield its URL."""
    port = free_port()
    process = start("src.server", f"port={port}", f"output_dir={root}", *arguments)
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


def check_distributed_sweep(tmp_path: Path, command: RunCli, *server_options: str) -> None:
    """Two parallel jobs, each with its own working directory, outputs and data, share only a server. It has
    all data of both jobs, and the parent run has the result."""
    import mlflow

    launch_dir, job_dirs = tmp_path / "launcher", [tmp_path / "jobs" / number for number in ("0", "1")]
    launch_dir.mkdir()
    overrides = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.job.chdir=true",
                 f"hydra.sweep.dir={tmp_path / 'jobs'}", "hidden=8,12", *SMALL, "output_dir=outputs",
                 "data_dir=data")  # fmt: skip
    with server(tmp_path / "server", *server_options) as address:
        command("src.train", "--multirun", *overrides, f"tracking.uri={address}", folder=launch_dir).check()
        assert all(any(folder.glob("data/*/tokens.npy")) for folder in job_dirs)
        assert not list(launch_dir.glob("outputs/runs/*"))  # the launching process has no files of jobs
        assert not (launch_dir / "data").exists()
        folders = [next(folder.glob("outputs/runs/*")) for folder in job_dirs]
        # From here the job directories are only compared.
        parent, children = sweep_runs(address)
        run_ids = [child.info.run_id for child in children]
        assert run_ids == [json.loads((f / "sync_state.json").read_text())["run_id"] for f in folders]
        for folder, run in zip(folders, children, strict=True):
            assert run.info.artifact_uri.startswith("mlflow-artifacts:")
            assert_synced(folder, address)
            downloaded = Path(
                mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path / "copy"))
            )
            for file in (
                *folder.glob("samples/*.txt"),
                *folder.glob("figures/*.png"),
                folder / "config.json",
            ):
                assert (downloaded / file.relative_to(folder)).read_bytes() == file.read_bytes()
            model = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/model"))
            assert digest(model / "data" / "model") == digest(folder / "model") != set()
            assert len(json.loads((downloaded / "samples.json").read_text())["data"]) == 3
        page = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/comparison.html")
        assert all(run_id in page for run_id in run_ids)
        assert parent.data.tags["sweep.best_run"] in run_ids
        assert parent.data.metrics["sweep/jobs"] == 2


def digest(folder: Path) -> set[tuple[str, str]]:
    return {(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in folder.iterdir()}


def test_distributed_sweep_over_mlflow_server(tmp_path: Path, command: RunCli) -> None:
    check_distributed_sweep(tmp_path, command)
    assert (tmp_path / "server" / "server.db").exists()


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
def test_distributed_sweep_over_postgresql(tmp_path: Path, command: RunCli) -> None:
    with postgres(tmp_path / "postgres") as url:
        check_distributed_sweep(tmp_path, command, f"backend_store_uri={url}")
    assert not (tmp_path / "server" / "server.db").exists()


def test_invalid_server_options_are_rejected(tmp_path: Path, command: RunCli) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        for override, message in {
            f"port={port}": f"port: expected a free port, got {port}, which is already in use",
            "host=192.0.2.1": "host: expected an address of this machine, got 192.0.2.1 (",
            "backend_store_uri=nonsense":
                "backend_store_uri: expected a database's URL such as postgresql://",
            "backend_store_uri=oracle://u:secret@h/n":
                "backend_store_uri: expected a database whose driver is installed, got ",
        }.items():  # fmt: skip
            result = command("src.server", f"port={free_port()}", override, f"output_dir={tmp_path}")
            assert result.error_line.startswith(f"server: {message}")
            assert "secret" not in result.err


def test_failed_server_start_names_log(tmp_path: Path, command: RunCli) -> None:
    (tmp_path / "server.db").write_text("no database")
    result = command("src.server", f"port={free_port()}", f"output_dir={tmp_path}")
    log = tmp_path / "server.log"
    assert result.error_line == f"server: expected a running MLflow server, got one that exited: see {log}"
    assert "database" in log.read_text()
