"""Fixtures of several test files: ways to run a command, and one small tracked run."""

import json
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CommandResult, forked_commands, run_command

ignore_mlflow_warnings = pytest.mark.filterwarnings("ignore")  # MLflow warns about its own dependencies


def pytest_configure() -> None:
    """Let child processes receive SIGINT: background jobs of a shell ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


CONFIG_NAMES = {
    "preprocess": "config",
    "train": "config",
    "pipeline": "config",
}  # other commands: their own name


@pytest.fixture(scope="session")
def command() -> Iterator[Callable[..., CommandResult]]:
    """Run commands in forked processes, which need no imports."""
    with forked_commands() as commands:
        yield commands


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CommandResult]:
    """Run a command line in this process: `run_cli("train", "hidden=0")`.

    `body` replaces the command's main function, for tests of the config that it receives.
    """

    def run(name: str, *arguments: str, body: Callable[[Any], Any] | None = None) -> CommandResult:
        from hydra.core.global_hydra import GlobalHydra

        from src.cli.main import run_command

        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the launcher sets it to 1
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        capsys.readouterr()
        rc = 0
        try:
            main = (lambda config, _: body(config)) if body else import_module(f"src.{name}").main
            run_command(name, CONFIG_NAMES.get(name, name), main)
        except SystemExit as result:
            rc = int(result.code or 0)
        captured = capsys.readouterr()
        return CommandResult(rc, captured.out, captured.err)

    return run


@dataclass(frozen=True)
class Trained:
    """A finished, tracked run of the default corpus."""

    root: Path
    run_id: str
    result: CommandResult

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def path_overrides(self) -> list[str]:
        """The overrides that give a command the paths of this run."""
        return [f"output_dir={self.outputs}", f"data_dir={self.root / 'data'}"]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.outputs / 'mlflow.db'}"

    @property
    def folder(self) -> Path:
        """The run directory."""
        for file in self.outputs.glob("runs/*/sync_state.json"):
            if json.loads(file.read_text())["run_id"] == self.run_id:
                return file.parent
        raise AssertionError(f"no directory of run {self.run_id}")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]

    def curve(self, name: str) -> list[tuple[int, float, int]]:
        """Return (step, value, time) of every point of one metric in the event log."""
        metrics = [r for r in self.events if r["kind"] == "metrics" and name in r["values"]]
        return [(r["step"], r["values"][name], r["time"]) for r in metrics]


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Copy a database without runs to a folder and return its URI: MLflow needs two seconds to create one."""
    file = tmp_path_factory.mktemp("database") / "mlflow.db"
    with warnings.catch_warnings(action="ignore"):
        from src.tracking import mlflow_client

        mlflow_client.connect(f"sqlite:///{file}")

    def copy(outputs: Path) -> str:
        outputs.mkdir(exist_ok=True)
        shutil.copy(file, outputs)
        return f"sqlite:///{outputs / 'mlflow.db'}"

    return copy


SMALL = ("hidden=32", "max_epochs=0.5", "eval_every=100", "length=120")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the sonnets for half a second, evaluate, sample and upload to a new database.

    Other runs of tests in this database use their own experiment, so `latest` and `best` find this run.
    """
    root = tmp_path_factory.mktemp("trained")
    path_overrides = [f"output_dir={root / 'outputs'}", f"data_dir={root / 'data'}"]
    result = run_command("src.train", *SMALL, *path_overrides)
    assert result.rc == 0, result.err
    return Trained(root, result.out.splitlines()[-1].rpartition("run=")[2], result)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """The overrides of `trained`."""
    return SMALL


@pytest.fixture(scope="module")
def client(trained: Trained) -> Any:
    """MLflow client of the database of `trained`."""
    import mlflow

    return mlflow.MlflowClient(trained.uri)


@pytest.fixture
def started_syncs(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """Start no sync in the background; return the directories that one would upload, per start."""
    started: list[list[Path]] = []
    monkeypatch.setattr("src.tracking.sync_state.start_background_sync", started.append)
    return started


@pytest.fixture
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for an unreachable server."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory shared by the runs of one module."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, controlled by Playwright; every context has a new profile."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], headless=True)
        yield browser
        browser.close()
