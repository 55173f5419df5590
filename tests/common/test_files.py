"""Paths of outputs, data and database: defaults, overrides and environment."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from src.common.files import PROJECT, absolute, sqlite_file
from src.config.constraints import evolve
from src.tracking.run import tracking_store
from tests.compose import PRIMARY, compose_raw, composed


@pytest.fixture(autouse=True)
def other_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize("primary", PRIMARY)
def test_default_paths_do_not_depend_on_working_directory(primary: str) -> None:
    config = composed(primary)
    assert absolute(config.output_dir) == PROJECT / "outputs"
    assert absolute(config.data_dir) == PROJECT / "data"
    assert tracking_store(config)["uri"] == f"sqlite:///{PROJECT / 'outputs' / 'mlflow.db'}"


def test_relative_paths_use_working_directory(tmp_path: Path) -> None:
    """Also the URI of a database, because the sync process has another working directory."""
    config = evolve(composed("config"), {"output_dir": "x", "data_dir": "y"})
    assert absolute(config.output_dir) == tmp_path / "x"
    assert absolute(config.data_dir) == tmp_path / "y"
    assert tracking_store(config) == {
        "uri": f"sqlite:///{tmp_path / 'x' / 'mlflow.db'}",
        "artifacts": (tmp_path / "x" / "artifacts").as_uri(),
    }
    store = tracking_store(evolve(config, {"tracking.uri": "sqlite:///mine.db"}))
    assert store["uri"] == f"sqlite:///{tmp_path / 'mine.db'}"


@pytest.mark.parametrize("name", ["q%20b", "q?c", "q#d", "100%", "a@b:c", "prêt à"])
def test_uri_of_database_names_its_file(tmp_path: Path, name: str) -> None:
    """Also where the name of the folder has characters with a meaning in a URI."""
    file = tmp_path / name / "mlflow.db"
    file.parent.mkdir()
    config = evolve(composed("config"), {"output_dir": name})
    uri = tracking_store(config)["uri"]
    assert sqlite_file(uri) == file
    create_engine(uri).connect().close()
    assert file.exists()
    assert tracking_store(evolve(config, {"tracking.uri": uri}))["uri"] == uri
    sweep = compose_raw("config", f"output_dir='{name}'", "hydra/sweeper=optuna", hydra=True)
    assert sqlite_file(sweep.hydra.sweeper.storage) == tmp_path / name / "optuna.db"


def test_tracking_uri_key_precedes_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    config = composed("config")
    assert tracking_store(config)["uri"] == "http://from.environment"
    assert tracking_store(evolve(config, {"tracking.uri": "http://key"}))["uri"] == "http://key"
